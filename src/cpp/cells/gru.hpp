// GRU with gates r z n, reset after the recurrent product, x = W_ih x_t + b_ih, u = W_hh h + b_hh:
//   r = sigmoid(x_r + u_r)  z = sigmoid(x_z + u_z)  n = tanh(x_n + r * u_n)
//   h' = (1 - z) * n + z * h
// Source: Cho 2014 in the form of cuDNN and torch.nn.GRU.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct Gru : CellBase {
  static constexpr const char* kName = "gru";
  static constexpr const char* kGates[] = {"r", "z", "n"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr int kGateCount = 3, kStateCount = 1, kSavedCount = 4;
  static constexpr bool kSplitGradient = true;  // u_n is multiplied by r before it is added

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* u, const V*, const V* state, V* next,
                               V* saved) {
    const V r = sigmoid(x[0] + u[0]);
    const V z = sigmoid(x[1] + u[1]);
    const V n = tanh(multiply_add(r, u[2], x[2]));
    next[0] = multiply_add(z, state[0] - n, n);
    saved[0] = r, saved[1] = z, saved[2] = n, saved[3] = u[2];
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V* du, V*) {
    const V one(1);
    const V r = saved[0], z = saved[1], n = saved[2], u_n = saved[3];
    const V dh = d[0];
    const V dn = dh * (one - z) * (one - n * n);
    dx[0] = dn * u_n * r * (one - r);
    dx[1] = dh * (state[0] - n) * z * (one - z);
    dx[2] = dn;
    du[0] = dx[0];
    du[1] = dx[1];
    du[2] = dn * r;
    d[0] = dh * z;
  }
};

}  // namespace unrolled::UNROLLED_ISA
