// LSTM with layer normalisation: norm(v) is v minus its mean over its standard deviation, of a row;
//   z = gain_ih * norm(W_ih x_t) + b_ih + gain_hh * norm(W_hh h) + b_hh       over all 4*H gates
//   i f g o as in lstm.hpp      c' = clip(f * c + i * g)
//   n = gain_c * norm(c') + shift_c       h' = o * tanh(n)
// Source: Ba, Kiros & Hinton 2016, equations 20 to 22; their shifts of z are the biases.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct LstmNorm : CellBase {
  static constexpr const char* kName = "lstm_norm";
  static constexpr const char* kGates[] = {"i", "f", "g", "o"};
  static constexpr const char* kStates[] = {"h", "c"};
  static constexpr const char* kUnitNames[] = {"gain_ih_i", "gain_ih_f", "gain_ih_g", "gain_ih_o",
                                               "gain_hh_i", "gain_hh_f", "gain_hh_g", "gain_hh_o",
                                               "gain_c",    "shift_c"};
  static constexpr int kGateCount = 4, kStateCount = 2, kSavedCount = 4, kUnitCount = 10;
  static constexpr bool kSplitGradient = false, kNormalisesCell = true, kClipsCell = true;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V* state, V* next, V* saved,
                               V limit) {
    const V i = sigmoid(x[0] + r[0]);
    const V f = sigmoid(x[1] + r[1]);
    const V g = tanh(x[2] + r[2]);
    const V o = sigmoid(x[3] + r[3]);
    next[0] = o;
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o;
    next[1] = cell(saved, state, limit);
  }

  template <class V>
  UNROLLED_INLINE V cell(const V* saved, const V* state, V limit) {
    return clip(multiply_add(saved[1], state[1], saved[0] * saved[2]), limit);
  }

  template <class V>
  UNROLLED_INLINE V output(V o, V n) {
    return o * tanh(n);
  }

  template <class V>
  UNROLLED_INLINE void output_backward(const V* saved, V n, V dh, V& dn, V* dx) {
    const V one(1), o = saved[3], tanh_n = tanh(n);
    dn = dh * o * (one - tanh_n * tanh_n);
    dx[3] = dh * tanh_n * o * (one - o);
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V*, V*,
                                V limit) {
    const V one(1);
    const V i = saved[0], f = saved[1], g = saved[2];
    const V dc = clip_backward(d[1], multiply_add(f, state[1], i * g), limit);
    dx[0] = dc * g * i * (one - i);
    dx[1] = dc * state[1] * f * (one - f);
    dx[2] = dc * i * (one - g * g);
    d[0] = V(0);
    d[1] = dc * f;
  }
};

}  // namespace unrolled::UNROLLED_ISA
