// The element-wise part of one step: what a thread does for one hidden unit of one row. The rows of
// a batch stand in the order of the plan, longest first; positions count steps in the order in
// which they are processed. Rows that end after a position give their final states there, and rows
// that begin at the next one get their initial states, so that a step is one kernel whatever the
// lengths.
#pragma once

#include "cuda/cells.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {

// A position of the processing order: its step t, and the rows that are live there, which stand
// from `token` on. Before the first position and behind the last one no row is live.
struct Position {
  int64_t s, t, live, token;
};

__host__ __device__ inline Position position(const Plan& plan, int64_t s) {
  if (s < 0 || s >= plan.T) return {s, 0, 0, 0};
  const int64_t t = plan.reverse ? plan.T - 1 - s : s;
  return {s, t, plan.live[t], plan.offset[t]};
}

__device__ inline bool is_reset(const Plan& plan, int64_t t, int64_t user_row) {
  return plan.resets != nullptr && plan.resets[t * plan.resets_step + user_row] != 0;
}

// What every step of a scan is given; the plan's arrays are on the device.
struct ForwardScan {
  Plan plan;
  int64_t H;
  const float* gates;  // (tokens, G*H): W_ih x
  const float *bias_input, *bias_recurrent;
  Sequence<float> y;
  const float* initial[kMaxStates];
  float* final[kMaxStates];
  float* states[kMaxStates];
  float* saved;  // (tokens, values, H) or null at inference
};

struct BackwardScan {
  Plan plan;
  int64_t H;
  Sequence<const float> dy;
  const float* dfinal[kMaxStates];
  float* dinitial[kMaxStates];
  const float* states[kMaxStates];
  const float* saved;
  float* carry[kMaxStates];    // (B, H): gradients of the states that enter the later position
  float *dinput, *drecurrent;  // (tokens, G*H); the same array unless the cell splits them
};

// Row of `states` where those that enter a position begin: a row for each token, or, at inference,
// two sets of B rows in turns.
__host__ __device__ inline int64_t state_row(const ForwardScan& a, const Position& p) {
  return a.saved != nullptr ? p.token : (p.s & 1) * a.plan.B;
}

// Unit u of row j, at `here`, and what it hands over to `next`. `recurrent` is the G sums W_hh h.
template <class Cell>
__device__ void forward_unit(const ForwardScan& a, const Position& here, const Position& next,
                             int64_t j, int64_t u, const float* recurrent) {
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount;
  const int64_t H = a.H, user = a.plan.order[j];
  float leaving[S];
  if (j < here.live) {
    const int64_t token = here.token + j;
    float x[G], r[G], state[S], saved[Cell::kSavedCount];
#pragma unroll
    for (int g = 0; g < G; ++g) {
      x[g] = a.gates[(token * G + g) * H + u];
      r[g] = recurrent[g];
      if (a.bias_input != nullptr) x[g] += a.bias_input[g * H + u];
      if (a.bias_recurrent != nullptr) r[g] += a.bias_recurrent[g * H + u];
    }
#pragma unroll
    for (int k = 0; k < S; ++k) state[k] = a.states[k][(state_row(a, here) + j) * H + u];
    Cell::forward(x, r, state, leaving, saved);
    a.y.data[here.t * a.y.step + user * a.y.row + u] = leaving[0];
    if (a.saved != nullptr)
#pragma unroll
      for (int i = 0; i < Cell::kSavedCount; ++i)
        a.saved[(token * Cell::kSavedCount + i) * H + u] = saved[i];
  } else {
#pragma unroll
    for (int k = 0; k < S; ++k)
      leaving[k] = a.initial[k] == nullptr ? 0.0f : a.initial[k][user * H + u];
  }
  const bool goes_on = j < next.live;
  const bool cut = goes_on && is_reset(a.plan, next.t, user);
#pragma unroll
  for (int k = 0; k < S; ++k)
    if (goes_on)
      a.states[k][(state_row(a, next) + j) * H + u] = cut ? 0.0f : leaving[k];
    else
      a.final[k][user * H + u] = leaving[k];
}

// Unit u of row j on the way back, from `later` to `here`. `product` is what dr W_hh of the later
// position adds to the gradient of h, where it is not in the carry yet.
template <class Cell>
__device__ void backward_unit(const BackwardScan& a, const Position& here, const Position& later,
                              int64_t j, int64_t u, float product) {
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount;
  const int64_t H = a.H, user = a.plan.order[j];
  float d[S];
#pragma unroll
  for (int k = 0; k < S; ++k)
    if (j >= later.live)
      d[k] = a.dfinal[k] == nullptr ? 0.0f : a.dfinal[k][user * H + u];
    else if (is_reset(a.plan, later.t, user))
      d[k] = 0.0f;
    else
      d[k] = a.carry[k][j * H + u] + (k == 0 ? product : 0.0f);
  if (j >= here.live) {
#pragma unroll
    for (int k = 0; k < S; ++k) a.dinitial[k][user * H + u] = d[k];
    return;
  }
  const int64_t token = here.token + j;
  float saved[Cell::kSavedCount], state[S], dx[G], dr[G];
#pragma unroll
  for (int i = 0; i < Cell::kSavedCount; ++i)
    saved[i] = a.saved[(token * Cell::kSavedCount + i) * H + u];
#pragma unroll
  for (int k = 0; k < S; ++k) state[k] = a.states[k][token * H + u];
  if (a.dy.data != nullptr) d[0] += a.dy.data[here.t * a.dy.step + user * a.dy.row + u];
  Cell::backward(saved, state, d, dx, dr);
#pragma unroll
  for (int k = 0; k < S; ++k) a.carry[k][j * H + u] = d[k];
#pragma unroll
  for (int g = 0; g < G; ++g) {
    a.dinput[(token * G + g) * H + u] = dx[g];
    if constexpr (Cell::kSplitGradient) a.drecurrent[(token * G + g) * H + u] = dr[g];
  }
}

}  // namespace unrolled::cuda
