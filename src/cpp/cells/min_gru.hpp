// minGRU with gates z n, x = W_ih x_t + b_ih; gates do not see the state:
//   z = sigmoid(x_z)        h' = (1 - z) * h + z * x_n
// Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.1.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct MinGru : CellBase {
  static constexpr const char* kName = "min_gru";
  static constexpr const char* kGates[] = {"z", "n"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr int kGateCount = 2, kStateCount = 1, kSavedCount = 2;
  static constexpr bool kSplitGradient = false, kRecurrent = false;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V*, const V*, const V* state, V* next, V* saved) {
    const V z = sigmoid(x[0]);
    next[0] = multiply_add(z, x[1] - state[0], state[0]);
    saved[0] = z, saved[1] = x[1];
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V*, V*) {
    const V one(1), z = saved[0];
    dx[0] = d[0] * (saved[1] - state[0]) * z * (one - z);
    dx[1] = d[0] * z;
    d[0] = d[0] * (one - z);
  }
};

}  // namespace unrolled::UNROLLED_ISA
