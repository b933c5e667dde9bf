// LSTM with gates i f g o, z = W_ih x_t + b_ih + W_hh h + b_hh:
//   i = sigmoid(z_i)  f = sigmoid(z_f)  g = tanh(z_g)  o = sigmoid(z_o)
//   c' = clip(f * c + i * g)        h' = o * tanh(c')
// Source: Hochreiter & Schmidhuber 1997 with the forget gate of Gers 2000, as torch.nn.LSTM.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct Lstm : CellBase {
  static constexpr const char* kName = "lstm";
  static constexpr const char* kGates[] = {"i", "f", "g", "o"};
  static constexpr const char* kStates[] = {"h", "c"};
  static constexpr int kGateCount = 4, kStateCount = 2, kSavedCount = 4;
  static constexpr bool kSplitGradient = false, kClipsCell = true;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V* state, V* next, V* saved,
                               V limit = no_limit<V>()) {
    const V i = sigmoid(x[0] + r[0]);
    const V f = sigmoid(x[1] + r[1]);
    const V g = tanh(x[2] + r[2]);
    const V o = sigmoid(x[3] + r[3]);
    const V c = clip(multiply_add(f, state[1], i * g), limit);
    next[0] = o * tanh(c);
    next[1] = c;
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o;
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V*, V*,
                                V limit = no_limit<V>()) {
    const V one(1);
    const V i = saved[0], f = saved[1], g = saved[2], o = saved[3];
    // c' is recomputed: one tanh costs less than its memory traffic.
    const V whole = multiply_add(f, state[1], i * g), tanh_c = tanh(clip(whole, limit));
    const V dh = d[0];
    const V dc = clip_backward(multiply_add(dh * o, one - tanh_c * tanh_c, d[1]), whole, limit);
    dx[0] = dc * g * i * (one - i);
    dx[1] = dc * state[1] * f * (one - f);
    dx[2] = dc * i * (one - g * g);
    dx[3] = dh * tanh_c * o * (one - o);
    d[0] = V(0);
    d[1] = dc * f;
  }
};

}  // namespace unrolled::UNROLLED_ISA
