// Minimal gated unit with gates z n, x = W_ih x_t + b_ih, u = W_hh h + b_hh:
//   z = sigmoid(x_z + u_z)  n = tanh(x_n + z * u_n)
//   h' = (1 - z) * h + z * n
// Source: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks" (there z is f), with
// z applied after the product, as GRU's r in cuDNN and torch.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct Mgu : CellBase {
  static constexpr const char* kName = "mgu";
  static constexpr const char* kGates[] = {"z", "n"};
  static constexpr const char* kStates[] = {"h"};
  static constexpr int kGateCount = 2, kStateCount = 1, kSavedCount = 3;
  static constexpr bool kSplitGradient = true;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* u, const V*, const V* state, V* next,
                               V* saved) {
    const V z = sigmoid(x[0] + u[0]);
    const V n = tanh(multiply_add(z, u[1], x[1]));
    next[0] = multiply_add(z, n - state[0], state[0]);
    saved[0] = z, saved[1] = n, saved[2] = u[1];
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V* du, V*) {
    const V one(1);
    const V z = saved[0], n = saved[1], u_n = saved[2];
    const V dh = d[0];
    dx[1] = dh * z * (one - n * n);
    dx[0] = multiply_add(dh, n - state[0], dx[1] * u_n) * z * (one - z);
    du[0] = dx[0];
    du[1] = dx[1] * z;
    d[0] = dh * (one - z);
  }
};

}  // namespace unrolled::UNROLLED_ISA
