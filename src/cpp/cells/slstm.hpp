// sLSTM with gates i f z o, a = W_ih x_t + b_ih + W_hh h + b_hh. The input gate is exponential; the
// state n normalises, and m keeps exponents from overflowing (c and n are stored times e^-m):
//   m' = max(log sigmoid(a_f) + m, a_i)     i = exp(a_i - m')   f = exp(log sigmoid(a_f) + m - m')
//   c' = f * c + i * tanh(a_z)              n' = f * n + i
//   h' = sigmoid(a_o) * c' / n'
// Source: Beck et al. 2024, "xLSTM: extended long short-term memory", section 2.2, with the sigmoid
// forget gate and a full recurrent matrix.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {

struct Slstm : CellBase {
  static constexpr const char* kName = "slstm";
  static constexpr const char* kGates[] = {"i", "f", "z", "o"};
  static constexpr const char* kStates[] = {"h", "c", "n", "m"};
  static constexpr int kGateCount = 4, kStateCount = 4, kSavedCount = 5;
  static constexpr bool kSplitGradient = false;

  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* r, const V*, const V* state, V* next,
                               V* saved) {
    const V zero(0), a_i = x[0] + r[0], a_f = x[1] + r[1];
    const V log_f = min(a_f, zero) - log1p(exp(min(a_f, -a_f))) + state[3];
    const V m = max(log_f, a_i);
    const V i = exp(a_i - m), f = exp(log_f - m);
    const V z = tanh(x[2] + r[2]);
    const V o = sigmoid(x[3] + r[3]);
    next[1] = multiply_add(f, state[1], i * z);
    next[2] = multiply_add(f, state[2], i);
    next[0] = o * (next[1] / next[2]);
    next[3] = m;
    saved[0] = i, saved[1] = f, saved[2] = z, saved[3] = o, saved[4] = sigmoid(a_f);
  }

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V*, const V* state, V* d, V* dx, V*, V*) {
    const V zero(0), one(1);
    const V i = saved[0], f = saved[1], z = saved[2], o = saved[3];
    const V n = multiply_add(f, state[2], i);
    const V mean = multiply_add(f, state[1], i * z) / n;
    const V dmean = d[0] * o / n;
    const V dc = d[1] + dmean;
    const V dn = d[2] - dmean * mean;
    const V di = multiply_add(dc, z, dn) * i;
    const V df = multiply_add(dc, state[1], dn * state[2]) * f;
    // m' is the greater exponent, whose own exponential is 1.
    const V dm = d[3] - di - df, of_f = where_positive(one - i, dm, zero);
    const V dlog_f = df + of_f;
    dx[0] = di + (dm - of_f);
    dx[1] = dlog_f * (one - saved[4]);
    dx[2] = dc * i * (one - z * z);
    dx[3] = d[0] * mean * o * (one - o);
    d[0] = zero;
    d[1] = dc * f;
    d[2] = dn * f;
    d[3] = dlog_f;
  }
};

}  // namespace unrolled::UNROLLED_ISA
