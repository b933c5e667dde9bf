// Sums of squares, in double: for norms.
#pragma once

#include "simd/vec.hpp"

namespace unrolled::UNROLLED_ISA {

// Sixteen sums in turns, added up in order.
template <class T>
UNROLLED_INLINE double sum_squares(const T* values, int64_t count) {
  constexpr int kParts = 16;
  double parts[kParts] = {};
  int64_t i = 0;
  for (; i + kParts <= count; i += kParts)
    for (int j = 0; j < kParts; ++j)
      parts[j] += static_cast<double>(values[i + j]) * static_cast<double>(values[i + j]);
  for (int j = 0; i < count; ++i, ++j)
    parts[j] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  double total = 0;
  for (int j = 0; j < kParts; ++j) total += parts[j];
  return total;
}

}  // namespace unrolled::UNROLLED_ISA
