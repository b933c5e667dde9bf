// What most cells have in common; see all.hpp for the contract.
#pragma once

#include "cells/gate_table.hpp"
#include "simd/math.hpp"

namespace unrolled::UNROLLED_ISA {

// x within -limit .. limit; a NaN stays.
template <class V>
UNROLLED_INLINE V clip(V x, V limit) {
  return max(min(x, limit), -limit);
}

// The gradient of x, given that of clip(x, limit): none where x lies beyond.
template <class V>
UNROLLED_INLINE V clip_backward(V d, V x, V limit) {
  return where_positive(max(x, -x) - limit, V(0), d);
}

// Of a state that is not clipped.
template <class V>
UNROLLED_INLINE V no_limit() {
  return V(__builtin_inff());
}

struct CellBase {
  static constexpr const char* const* kUnitNames = nullptr;
  static constexpr const Function* kFunctions = nullptr;
  static constexpr int kUnitCount = 0, kFunctionCount = 0;
  static constexpr bool kRecurrent = true, kClipsCell = false;
};

}  // namespace unrolled::UNROLLED_ISA
