// What is said of the options of a scan, on a host and on a device: each throws where it will not
// do.
#pragma once

#include <algorithm>

#include "api/array.hpp"

namespace unrolled {

// A limit > 0 of the state c, infinity for none.
inline void check_cell_clip(const CellInfo& info, double limit) {
  if (!(limit > 0)) fail_value("[", info.name, "] expected cell_clip > 0, got ", limit);
  if (limit < kUnlimited && !info.clips)
    fail_value("[", info.name, "] expected no cell_clip: the cell has no state c to clip");
}

// Factors of h in the recurrent product.
inline void check_factors(const CellInfo& info, bool present) {
  if (present && !info.recurrent)
    fail_value("[", info.name,
               "] expected no recurrent_factors: the cell has no recurrent product");
}

// Limits > 0 of the elements and of the norm of the gradient of h, infinity for none.
inline void check_clip_gradient(const CellInfo& info, double value, double norm) {
  if (!(value > 0 && norm > 0))
    fail_value("[", info.name, "] expected a limit > 0 of clip_gradient, got ",
               std::min(value, norm));
}

}  // namespace unrolled
