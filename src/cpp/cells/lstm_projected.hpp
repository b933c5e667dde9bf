// LSTM whose output is projected: gates i f g o of z = W_ih x_t + b_ih + W_hh h + b_hh as in
// lstm.hpp, with h of R columns, c of H:
//   c' = clip(f * c + i * g)        m = o * tanh(c')        h' = W_hr m
// Source: Sak, Senior & Beaufays 2014 without peepholes, as torch.nn.LSTM with proj_size.
#pragma once

#include "cells/lstm.hpp"

namespace unrolled::UNROLLED_ISA {

struct LstmProjected : CellBase {
  static constexpr const char* kName = "lstm_projected";
  static constexpr const char* kGates[] = {"i", "f", "g", "o"};
  static constexpr const char* kStates[] = {"h", "c"};
  static constexpr int kGateCount = 4, kStateCount = 2, kSavedCount = 4;
  static constexpr bool kSplitGradient = false, kClipsCell = true;
  static constexpr int kFirstGates = 4, kFirstSaved = 4;
  static constexpr int kFirstGradients = 4;
  static constexpr bool kProjects = true;

  template <class V>
  UNROLLED_INLINE void first(const V* x, const V* r, const V* state, V* next, V* saved, V& m,
                             V limit) {
    Lstm::forward(x, r, state, state, next, saved, limit);
    m = next[0];
  }

  template <class V>
  UNROLLED_INLINE void second(const V*, V u, const V*, V* next, V*) {
    next[0] = u;
  }

  template <class V>
  UNROLLED_INLINE void second_backward(const V*, const V*, V* d, V*, V& du) {
    du = d[0];
    d[0] = V(0);
  }

  template <class V>
  UNROLLED_INLINE void first_backward(const V* saved, const V* state, V dm, V* d, V* dx, V& m,
                                      V limit) {
    V of_cell[2] = {dm, d[1]};
    Lstm::backward(saved, state, state, of_cell, dx, dx, dx, limit);
    d[1] = of_cell[1];
    m = saved[3] * tanh(clip(multiply_add(saved[1], state[1], saved[0] * saved[2]), limit));
  }
};

}  // namespace unrolled::UNROLLED_ISA
