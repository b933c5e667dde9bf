// The Elman network: h' = act(x + r), with x = W_ih x_t + b_ih and r = W_hh h + b_hh.
// Source: Elman 1990, in the form of torch.nn.RNN.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct ElmanTanh : CellBase {
  static constexpr const char* kName = "rnn_tanh";
  static constexpr const char* kGates[] = {"h"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr int kGateCount = 1, kStateCount = 1, kSavedCount = 1;
  static constexpr bool kSplitGradient = false;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V*, V* next, V* saved) {
    next[0] = tanh(x[0] + r[0]);
    saved[0] = next[0];
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V*, V* d, V* dx, V*, V*) {
    dx[0] = d[0] * (V(1) - saved[0] * saved[0]);
    d[0] = V(0);
  }
};

struct ElmanRelu : CellBase {
  static constexpr const char* kName = "rnn_relu";
  static constexpr const char* kGates[] = {"h"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr int kGateCount = 1, kStateCount = 1, kSavedCount = 1;
  static constexpr bool kSplitGradient = false;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V*, V* next, V* saved) {
    next[0] = max(x[0] + r[0], V(0));
    saved[0] = next[0];
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V*, V* d, V* dx, V*, V*) {
    dx[0] = where_positive(saved[0], d[0], V(0));
    d[0] = V(0);
  }
};

}  // namespace unrolled::UNROLLED_ISA
