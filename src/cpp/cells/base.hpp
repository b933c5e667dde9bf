// What most cells have in common; see all.hpp for the contract.
#pragma once

#include "simd/math.hpp"

namespace unrolled::UNROLLED_ISA {

// x within -limit .. limit; a NaN stays.
template <class V>
UNROLLED_INLINE V clip(V x, V limit) {
  return max(min(x, limit), -limit);
}

struct CellBase {
  static constexpr const char* const* kUnitNames = nullptr;
  static constexpr int kUnitCount = 0;
  static constexpr bool kRecurrent = true;
};

}  // namespace unrolled::UNROLLED_ISA
