// GRU with gates r z n, reset before the recurrent product, x = W_ih x_t + b_ih:
//   r = sigmoid(x_r + W_hr h + b_hr)  z = sigmoid(x_z + W_hz h + b_hz)
//   m = r * h     n = tanh(x_n + W_hn m + b_hn)     h' = (1 - z) * n + z * h
// Source: Cho 2014; Keras's reset_after=False, ONNX's linear_before_reset=0.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct GruResetBefore : CellBase {
  static constexpr const char* kName = "gru_reset_before";
  static constexpr const char* kGates[] = {"r", "z", "n"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr int kGateCount = 3, kStateCount = 1, kSavedCount = 3;
  static constexpr bool kSplitGradient = false;
  static constexpr int kFirstGates = 2, kFirstSaved = 2;
  static constexpr int kFirstGradients = 1;
  static constexpr bool kProjects = false;

  template <class V>
  UNROLLED_INLINE void first(const V* x, const V* u, const V* state, V*, V* saved, V& m) {
    saved[0] = sigmoid(x[0] + u[0]);
    saved[1] = sigmoid(x[1] + u[1]);
    m = saved[0] * state[0];
  }

  template <class V>
  UNROLLED_INLINE void second(const V* x, V u, const V* state, V* next, V* saved) {
    const V z = saved[1], n = tanh(x[2] + u);
    next[0] = multiply_add(z, state[0] - n, n);
    saved[2] = n;
  }

  template <class V>
  UNROLLED_INLINE void second_backward(const V* saved, const V* state, V* d, V* dx, V& du) {
    const V one(1);
    const V z = saved[1], n = saved[2], dh = d[0];
    dx[1] = dh * (state[0] - n) * z * (one - z);
    dx[2] = du = dh * (one - z) * (one - n * n);
    d[0] = dh * z;
  }

  template <class V>
  UNROLLED_INLINE void first_backward(const V* saved, const V* state, V dm, V* d, V* dx, V& m) {
    const V r = saved[0];
    dx[0] = dm * state[0] * r * (V(1) - r);
    d[0] = multiply_add(dm, r, d[0]);
    m = r * state[0];
  }
};

}  // namespace unrolled::UNROLLED_ISA
