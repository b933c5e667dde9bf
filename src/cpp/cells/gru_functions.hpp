// GRUs with functions of one's choice: gates r z n, x = W_ih x_t + b_ih, u = W_hh h + b_hh,
// functions F G, what they read cut to a limit; h' = (1 - z) * n + z * h.
//   reset after the product:   r = F(x_r + u_r)  z = F(x_z + u_z)  n = G(x_n + r * u_n)
//   reset before the product:  r and z the same  m = r * h         n = G(x_n + W_hn m + b_hn)
// Source: ONNX's GRU with linear_before_reset = 1 and 0.
#pragma once

#include "cells/functions.hpp"

namespace unrolled::UNROLLED_ISA {

struct GruFunctionsBase : CellBase {
  static constexpr const char* kGates[] = {"r", "z", "n"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr Function kFunctions[] = {Function::kSigmoid, Function::kTanh};
  static constexpr int kGateCount = 3, kStateCount = 1, kFunctionCount = 2;
};

struct GruFunctions : GruFunctionsBase {
  static constexpr const char* kName = "gru_functions";
  static constexpr int kSavedCount = 4;
  static constexpr bool kSplitGradient = true;

  template <class V, class Options>
  UNROLLED_INLINE void forward(const V* x, const V* u, const V*, const V* state, V* next, V* saved,
                               const Options& options) {
    saved[0] = x[0] + u[0], saved[1] = x[1] + u[1], saved[3] = u[2];
    saved[2] = multiply_add(gate(options, 0, saved[0]), u[2], x[2]);
    const V z = gate(options, 0, saved[1]), n = gate(options, 1, saved[2]);
    next[0] = multiply_add(z, state[0] - n, n);
  }

  template <class V, class Options>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V* du, V*,
                                const Options& options) {
    V slope_r, slope_z, slope_n;
    const V r = gate(options, 0, saved[0], slope_r), z = gate(options, 0, saved[1], slope_z);
    const V n = gate(options, 1, saved[2], slope_n), dh = d[0];
    dx[2] = dh * (V(1) - z) * slope_n;
    du[0] = dx[0] = dx[2] * saved[3] * slope_r;
    du[1] = dx[1] = dh * (state[0] - n) * slope_z;
    du[2] = dx[2] * r;
    d[0] = dh * z;
  }
};

struct GruResetBeforeFunctions : GruFunctionsBase {
  static constexpr const char* kName = "gru_reset_before_functions";
  static constexpr int kSavedCount = 3;
  static constexpr bool kSplitGradient = false;
  static constexpr int kFirstGates = 2, kFirstSaved = 2, kFirstGradients = 1;
  static constexpr bool kProjects = false;

  template <class V, class Options>
  UNROLLED_INLINE void first(const V* x, const V* u, const V* state, V*, V* saved, V& m,
                             const Options& options) {
    saved[0] = x[0] + u[0], saved[1] = x[1] + u[1];
    m = gate(options, 0, saved[0]) * state[0];
  }

  template <class V, class Options>
  UNROLLED_INLINE void second(const V* x, V u, const V* state, V* next, V* saved,
                              const Options& options) {
    saved[2] = x[2] + u;
    const V z = gate(options, 0, saved[1]), n = gate(options, 1, saved[2]);
    next[0] = multiply_add(z, state[0] - n, n);
  }

  template <class V, class Options>
  UNROLLED_INLINE void second_backward(const V* saved, const V* state, V* d, V* dx, V& du,
                                       const Options& options) {
    V slope_z, slope_n;
    const V z = gate(options, 0, saved[1], slope_z), n = gate(options, 1, saved[2], slope_n);
    dx[1] = d[0] * (state[0] - n) * slope_z;
    dx[2] = du = d[0] * (V(1) - z) * slope_n;
    d[0] = d[0] * z;
  }

  template <class V, class Options>
  UNROLLED_INLINE void first_backward(const V* saved, const V* state, V dm, V* d, V* dx, V& m,
                                      const Options& options) {
    V slope_r;
    const V r = gate(options, 0, saved[0], slope_r);
    dx[0] = dm * state[0] * slope_r;
    d[0] = multiply_add(dm, r, d[0]);
    m = r * state[0];
  }
};

}  // namespace unrolled::UNROLLED_ISA
