// LSTM that writes what it forgets: gates f g o, z = W_ih x_t + b_ih + W_hh h + b_hh:
//   f = sigmoid(z_f)  g = tanh(z_g)  o = sigmoid(z_o)
//   c' = clip(f * c + (1 - f) * g)        h' = o * tanh(c')
// Source: the coupled input and forget gate (CIFG) of Greff et al. 2017, "LSTM: a search space
// odyssey"; ONNX's LSTM with input_forget, there with the input gate i = 1 - f.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct LstmCoupled : CellBase {
  static constexpr const char* kName = "lstm_coupled";
  static constexpr const char* kGates[] = {"f", "g", "o"};
  static constexpr const char* kStates[] = {"h", "c"};
  static constexpr int kGateCount = 3, kStateCount = 2, kSavedCount = 3;
  static constexpr bool kSplitGradient = false, kClipsCell = true;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V* state, V* next, V* saved,
                               V limit = no_limit<V>()) {
    const V f = sigmoid(x[0] + r[0]);
    const V g = tanh(x[1] + r[1]);
    const V o = sigmoid(x[2] + r[2]);
    const V c = clip(multiply_add(f, state[1] - g, g), limit);
    next[0] = o * tanh(c);
    next[1] = c;
    saved[0] = f, saved[1] = g, saved[2] = o;
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V*, V*,
                                V limit = no_limit<V>()) {
    const V one(1);
    const V f = saved[0], g = saved[1], o = saved[2];
    const V whole = multiply_add(f, state[1] - g, g), tanh_c = tanh(clip(whole, limit));
    const V dh = d[0];
    const V dc = clip_backward(multiply_add(dh * o, one - tanh_c * tanh_c, d[1]), whole, limit);
    dx[0] = dc * (state[1] - g) * f * (one - f);
    dx[1] = dc * (one - f) * (one - g * g);
    dx[2] = dh * tanh_c * o * (one - o);
    d[0] = V(0);
    d[1] = dc * f;
  }
};

}  // namespace unrolled::UNROLLED_ISA
