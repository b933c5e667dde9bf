// The Elman network with a function of one's choice: h' = f(x + r), with x = W_ih x_t + b_ih and
// r = W_hh h + b_hh, x + r cut to a limit.
// Source: ONNX's RNN.
#pragma once

#include "cells/functions.hpp"

namespace unrolled::UNROLLED_ISA {

struct ElmanFunctions : CellBase {
  static constexpr const char* kName = "rnn_functions";
  static constexpr const char* kGates[] = {"h"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr Function kFunctions[] = {Function::kTanh};
  static constexpr int kGateCount = 1, kStateCount = 1, kSavedCount = 1, kFunctionCount = 1;
  static constexpr bool kSplitGradient = false;

  template <class V, class Options>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V*, V* next, V* saved,
                               const Options& options) {
    saved[0] = x[0] + r[0];
    next[0] = gate(options, 0, saved[0]);
  }

  template <class V, class Options>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V*, V* d, V* dx, V*, V*,
                                const Options& options) {
    V slope;
    gate(options, 0, saved[0], slope);
    dx[0] = d[0] * slope;
    d[0] = V(0);
  }
};

}  // namespace unrolled::UNROLLED_ISA
