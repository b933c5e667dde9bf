// LSTM whose gates see the cell state: gates i f g o, z = W_ih x_t + b_ih + W_hh h + b_hh, and
// weights p of each unit:
//   i = sigmoid(z_i + p_i * c)  f = sigmoid(z_f + p_f * c)  g = tanh(z_g)
//   c' = clip(f * c + i * g)    o = sigmoid(z_o + p_o * c')  h' = o * tanh(c')
// Source: Gers & Schmidhuber 2000, "Recurrent nets that time and count"; ONNX's LSTM with P.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct LstmPeephole : CellBase {
  static constexpr const char* kName = "lstm_peephole";
  static constexpr const char* kGates[] = {"i", "f", "g", "o"};
  static constexpr const char* kStates[] = {"h", "c"};
  static constexpr const char* kUnitNames[] = {"i", "f", "o"};
  static constexpr int kGateCount = 4, kStateCount = 2, kSavedCount = 4, kUnitCount = 3;
  static constexpr bool kSplitGradient = false, kClipsCell = true;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V* p, const V* state, V* next,
                               V* saved, V limit = no_limit<V>()) {
    const V c = state[1];
    const V i = sigmoid(multiply_add(p[0], c, x[0] + r[0]));
    const V f = sigmoid(multiply_add(p[1], c, x[1] + r[1]));
    const V g = tanh(x[2] + r[2]);
    next[1] = clip(multiply_add(f, c, i * g), limit);
    const V o = sigmoid(multiply_add(p[2], next[1], x[3] + r[3]));
    next[0] = o * tanh(next[1]);
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o;
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V* p, const V* state, V* d, V* dx, V*, V* dp,
                                V limit = no_limit<V>()) {
    const V one(1), c = state[1];
    const V i = saved[0], f = saved[1], g = saved[2], o = saved[3];
    const V whole = multiply_add(f, c, i * g), next = clip(whole, limit), tanh_c = tanh(next);
    const V dh = d[0];
    dx[3] = dh * tanh_c * o * (one - o);
    const V dc = clip_backward(
        multiply_add(dx[3], p[2], multiply_add(dh * o, one - tanh_c * tanh_c, d[1])), whole, limit);
    dx[0] = dc * g * i * (one - i);
    dx[1] = dc * c * f * (one - f);
    dx[2] = dc * i * (one - g * g);
    dp[0] = dx[0] * c;
    dp[1] = dx[1] * c;
    dp[2] = dx[3] * next;
    d[0] = V(0);
    d[1] = multiply_add(dx[0], p[0], multiply_add(dx[1], p[1], dc * f));
  }
};

}  // namespace unrolled::UNROLLED_ISA
