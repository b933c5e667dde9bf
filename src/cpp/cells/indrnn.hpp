// Independently recurrent network, x = W_ih x_t + b_ih and a recurrent weight u of each unit:
//   h' = max(x + u * h, 0)
// Source: Li et al. 2018, "Independently recurrent neural network (IndRNN)".
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct IndRnn : CellBase {
  static constexpr const char* kName = "indrnn";
  static constexpr const char* kGates[] = {"h"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr const char* kUnitNames[] = {"u"};
  static constexpr int kGateCount = 1, kStateCount = 1, kSavedCount = 1, kUnitCount = 1;
  static constexpr bool kSplitGradient = false, kRecurrent = false;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V*, const V* p, const V* state, V* next,
                               V* saved) {
    next[0] = max(multiply_add(p[0], state[0], x[0]), V(0));
    saved[0] = next[0];
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V* p, const V* state, V* d, V* dx, V*,
                                V* dp) {
    dx[0] = where_positive(saved[0], d[0], V(0));
    dp[0] = dx[0] * state[0];
    d[0] = dx[0] * p[0];
  }
};

}  // namespace unrolled::UNROLLED_ISA
