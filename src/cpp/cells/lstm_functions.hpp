// LSTM with functions of one's choice: gates i f g o, z = W_ih x_t + b_ih + W_hh h + b_hh, weights
// p of each unit, functions F G H, what F and G read cut to a limit:
//   i = F(z_i + p_i * c)    f = F(z_f + p_f * c), or 1 - i where they are coupled    g = G(z_g)
//   c' = clip(f * c + i * g)    o = F(z_o + p_o * c')    h' = o * H(c')
// Source: ONNX's LSTM.
#pragma once

#include "cells/functions.hpp"

namespace unrolled::UNROLLED_ISA {

struct LstmFunctions : CellBase {
  static constexpr const char* kName = "lstm_functions";
  static constexpr const char* kGates[] = {"i", "f", "g", "o"};
  static constexpr const char* kStates[] = {"h", "c"};
  static constexpr const char* kUnitNames[] = {"i", "f", "o"};
  static constexpr Function kFunctions[] = {Function::kSigmoid, Function::kTanh, Function::kTanh};
  static constexpr int kGateCount = 4, kStateCount = 2, kSavedCount = 4, kUnitCount = 3,
                       kFunctionCount = 3;
  static constexpr bool kSplitGradient = false, kClipsCell = true;

  template <class V, class Options>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V* p, const V* state, V* next,
                               V* saved, V limit, const Options& options) {
    const V c = state[1];
    saved[0] = multiply_add(p[0], c, x[0] + r[0]);
    saved[1] = multiply_add(p[1], c, x[1] + r[1]);
    saved[2] = x[2] + r[2];
    const V i = gate(options, 0, saved[0]), g = gate(options, 1, saved[2]);
    const V f = options.coupled ? V(1) - i : gate(options, 0, saved[1]);
    next[1] = clip(multiply_add(f, c, i * g), limit);
    saved[3] = multiply_add(p[2], next[1], x[3] + r[3]);
    next[0] = gate(options, 0, saved[3]) * activate(options.functions[2], next[1]);
  }

  template <class V, class Options>
  UNROLLED_INLINE void backward(const V* saved, const V* p, const V* state, V* d, V* dx, V*, V* dp,
                                V limit, const Options& options) {
    V slope_i, slope_f = V(0), slope_g, slope_o, slope_h;
    const V c = state[1];
    const V i = gate(options, 0, saved[0], slope_i), g = gate(options, 1, saved[2], slope_g);
    const V f = options.coupled ? V(1) - i : gate(options, 0, saved[1], slope_f);
    const V o = gate(options, 0, saved[3], slope_o);
    const V whole = multiply_add(f, c, i * g), next = clip(whole, limit);
    const V read = activate(options.functions[2], next, &slope_h);
    dx[3] = d[0] * read * slope_o;
    const V dc = clip_backward(multiply_add(dx[3], p[2], multiply_add(d[0] * o, slope_h, d[1])),
                               whole, limit);
    dx[0] = dc * (options.coupled ? g - c : g) * slope_i;
    dx[1] = dc * c * slope_f;
    dx[2] = dc * i * slope_g;
    dp[0] = dx[0] * c;
    dp[1] = dx[1] * c;
    dp[2] = dx[3] * next;
    d[0] = V(0);
    d[1] = multiply_add(dx[0], p[0], multiply_add(dx[1], p[1], dc * f));
  }
};

}  // namespace unrolled::UNROLLED_ISA
