// The element-wise part of one step: what a thread does for one hidden unit of one row. The rows of
// a batch stand in the order of the plan, longest first; positions count steps in the order in
// which they are processed. Rows that end after a position give their final states there, and rows
// that begin at the next one get their initial states, so that a step is one kernel whatever the
// lengths.
#pragma once

#include "cuda/bf16.hpp"
#include "cuda/cells.hpp"

namespace unrolled::cuda {

// A position of the processing order: its step t, and the rows that are live there, which stand
// from `token` on. Before the first position and behind the last one no row is live.
struct Position {
  int64_t s, t, live, token;
};

__host__ __device__ inline Position position(const Plan& plan, int64_t s) {
  if (s < 0 || s >= plan.T) return {s, 0, 0, 0};
  const int64_t t = plan.reverse ? plan.T - 1 - s : s;
  if (plan.ordered) return {s, t, plan.B, t * plan.B};  // what the arrays say, too
  return {s, t, plan.live[t], plan.offset[t]};
}

__device__ inline int64_t user_row(const Plan& plan, int64_t j) {
  return plan.ordered ? j : plan.order[j];
}

__device__ inline bool is_reset(const Plan& plan, int64_t t, int64_t user_row) {
  return plan.resets != nullptr && plan.resets[t * plan.resets_step + user_row] != 0;
}

// What every step of a scan is given; the plan's arrays are on the device.
template <class E>
struct ForwardScan {
  Plan plan;
  int64_t H, R;        // units of gates, and of state 0: other than H where a cell projects
  const float* gates;  // (tokens, G*H): W_ih x
  const float *bias_input, *bias_recurrent;
  const float* weight_unit;  // (P, H)
  Sequence<float> y[kMaxStates];
  Sequence<const float> update[kMaxStates];
  const float* factors;  // (B, R) or null
  float cell_limit;
  GateOptions<float> choice;
  const float* initial[kMaxStates];
  float* final[kMaxStates];
  float* states[kMaxStates];
  E* h;          // as products read states[0]: itself, or with its factors and rounded
  float* saved;  // (tokens, values, H) or null at inference
};

template <class E>
struct BackwardScan {
  Plan plan;
  int64_t H, R;
  const float* weight_unit;
  Sequence<const float> dy[kMaxStates], update[kMaxStates];
  const float* factors;
  float cell_limit, clip_value;
  GateOptions<float> choice;
  const float* dfinal[kMaxStates];
  float* dinitial[kMaxStates];
  const float* states[kMaxStates];
  const float* saved;
  float* carry[kMaxStates];  // (B, H or R): gradients of the states that enter the later position
  E *dinput, *drecurrent;    // (tokens, G*H); the same array unless the cell splits them
  float* dunit;              // (tokens, P, H)
};

// Calls f with what a cell's functions are given behind their other arguments: the limit of its
// state c, and what its gates apply, where these may be chosen.
template <class Cell, class Scan, class F>
__device__ void with_options(const Scan& a, F&& f) {
  if constexpr (Cell::kClipsCell && Cell::kFunctionCount > 0)
    f(a.cell_limit, a.choice);
  else if constexpr (Cell::kClipsCell)
    f(a.cell_limit);
  else if constexpr (Cell::kFunctionCount > 0)
    f(a.choice);
  else
    f();
}

// Parameter i of unit u, zero where none are given.
__device__ inline float unit_parameter(const float* weight_unit, int64_t H, int i, int64_t u) {
  return weight_unit == nullptr ? 0.0f : weight_unit[i * H + u];
}

// Whether products read an array of their own instead of states[0].
template <class E>
__host__ __device__ bool copies_h(const float* factors) {
  return kIsRounded<E> || factors != nullptr;
}

// What the recurrent product sees the h of unit u of a row multiplied by.
__device__ inline float factor_of(const float* factors, int64_t R, int64_t user_row, int64_t u) {
  return factors == nullptr ? 1.0f : factors[user_row * R + u];
}

// Row of `states` where those that enter a position begin: a row for each token, or, at inference,
// two sets of B rows in turns.
template <class E>
__host__ __device__ int64_t state_row(const ForwardScan<E>& a, const Position& p) {
  return a.saved != nullptr ? p.token : (p.s & 1) * a.plan.B;
}

// Where a user's array has unit u of a row.
template <class T>
__device__ T& at(const Sequence<T>& steps, int64_t t, int64_t user_row, int64_t u) {
  return steps.data[t * steps.step + user_row * steps.row + u];
}

// Units of a state.
template <class Scan>
__host__ __device__ int64_t width_of(const Scan& a, int k) {
  return k == 0 ? a.R : a.H;
}

// Where the states of a row go behind a step.
struct Onward {
  bool goes_on, cut;  // to the next position, if not to the final states; as zeros
};

template <class E>
__device__ Onward onward(const ForwardScan<E>& a, const Position& next, int64_t j, int64_t user) {
  const bool goes_on = j < next.live;
  return {goes_on, goes_on && is_reset(a.plan, next.t, user)};
}

// Hands state k of unit u over to `next`.
template <class E>
__device__ void hand_over(const ForwardScan<E>& a, int k, const Position& next, Onward to,
                          int64_t j, int64_t user, int64_t u, float leaving) {
  const int64_t width = width_of(a, k), unit = (state_row(a, next) + j) * width + u;
  if (!to.goes_on) {
    a.final[k][user * width + u] = leaving;
    return;
  }
  a.states[k][unit] = to.cut ? 0.0f : leaving;
  if (k == 0 && copies_h<E>(a.factors))
    a.h[unit] = rounded<E>(to.cut ? 0.0f : factor_of(a.factors, width, user, u) * leaving);
}

// State k of unit u as it begins, at the position before its first step.
template <class E>
__device__ float beginning(const ForwardScan<E>& a, int k, int64_t user, int64_t u) {
  return a.initial[k] == nullptr ? 0.0f : a.initial[k][user * width_of(a, k) + u];
}

// State k of unit u once the step has made `made` of it: with its share of what it was before, and
// given to the user.
template <class E>
__device__ float settle(const ForwardScan<E>& a, int k, const Position& here, int64_t user,
                        int64_t u, float before, float made, float share) {
  if (a.update[k].data != nullptr) made = multiply_add(share, made, (1.0f - share) * before);
  if (a.y[k].data != nullptr) at(a.y[k], here.t, user, u) = made;
  return made;
}

// Unit u of row j, at `here`: what it reads beside the product W_hh h. Apart from the unit's own
// states nothing of it depends on the step before, so that it can be on its way during the product.
template <class Cell>
struct ForwardUnit {
  int64_t j, u, user;
  float x[Cell::kGateCount], bias[Cell::kGateCount], p[Cell::kUnitCount + 1];
  float state[Cell::kStateCount], share[Cell::kStateCount];
};

template <class Cell, class E>
__device__ ForwardUnit<Cell> load_unit(const ForwardScan<E>& a, const Position& here, int64_t j,
                                       int64_t u) {
  ForwardUnit<Cell> unit{j, u, user_row(a.plan, j), {}, {}, {}, {}, {}};
  const bool live = j < here.live;  // else it begins at the next position
  const int64_t H = a.H, token = here.token + j;
#pragma unroll
  for (int g = 0; g < Cell::kGateCount; ++g)
    if (live) {
      unit.x[g] = a.gates[(token * Cell::kGateCount + g) * H + u];
      if (a.bias_input != nullptr) unit.x[g] += a.bias_input[g * H + u];
      if (a.bias_recurrent != nullptr) unit.bias[g] = a.bias_recurrent[g * H + u];
    }
#pragma unroll
  for (int i = 0; i < Cell::kUnitCount; ++i) unit.p[i] = unit_parameter(a.weight_unit, H, i, u);
#pragma unroll
  for (int k = 0; k < Cell::kStateCount; ++k)
    if (live) {
      unit.state[k] = a.states[k][(state_row(a, here) + j) * H + u];
      if (a.update[k].data != nullptr) unit.share[k] = at(a.update[k], here.t, unit.user, u);
    } else {
      unit.state[k] = beginning(a, k, unit.user, u);
    }
  return unit;
}

// The step of a unit, and what it hands over to `next`. `recurrent` is the G sums W_hh h.
template <class Cell, class E>
__device__ void finish_unit(const ForwardScan<E>& a, const Position& here, const Position& next,
                            const ForwardUnit<Cell>& unit, float* recurrent) {
  constexpr int S = Cell::kStateCount, kSaved = Cell::kSavedCount;
  const int64_t H = a.H, j = unit.j, u = unit.u;
  float leaving[S];
  if (j < here.live) {
    const int64_t token = here.token + j;
    float saved[kSaved];
#pragma unroll
    for (int g = 0; g < Cell::kGateCount; ++g) recurrent[g] += unit.bias[g];
    with_options<Cell>(a, [&](const auto&... options) {
      Cell::forward(unit.x, recurrent, unit.p, unit.state, leaving, saved, options...);
    });
#pragma unroll
    for (int k = 0; k < S; ++k)
      leaving[k] = settle(a, k, here, unit.user, u, unit.state[k], leaving[k], unit.share[k]);
    if (a.saved != nullptr)
#pragma unroll
      for (int i = 0; i < kSaved; ++i) a.saved[(token * kSaved + i) * H + u] = saved[i];
  } else {
#pragma unroll
    for (int k = 0; k < S; ++k) leaving[k] = unit.state[k];
  }
  const Onward to = onward(a, next, j, unit.user);
#pragma unroll
  for (int k = 0; k < S; ++k) hand_over(a, k, next, to, j, unit.user, u, leaving[k]);
}

// The gradient of state k of unit u that comes from `later` to `here`, without the product: of row
// j, whose final states are there where it ends.
template <class E>
__device__ float arriving(const BackwardScan<E>& a, int k, const Position& later, bool cut,
                          int64_t j, int64_t user, int64_t u) {
  const int64_t width = width_of(a, k);
  if (!cut) return a.carry[k][j * width + u];
  const bool ends = j >= later.live;
  return ends && a.dfinal[k] != nullptr ? a.dfinal[k][user * width + u] : 0.0f;
}

// Nothing comes back from `later`: a row ends before, or is reset there.
template <class E>
__device__ bool is_cut(const BackwardScan<E>& a, const Position& later, int64_t j, int64_t user) {
  return j >= later.live || is_reset(a.plan, later.t, user);
}

// What a step may take of the gradient of state k that leaves it, with that of the user's; the rest
// is `stayed`.
template <class E>
__device__ float taken(const BackwardScan<E>& a, int k, const Position& here, int64_t user,
                       int64_t u, float d, float& stayed) {
  stayed = 0.0f;
  if (a.dy[k].data != nullptr) d += at(a.dy[k], here.t, user, u);
  if (a.update[k].data == nullptr) return d;
  const float part = at(a.update[k], here.t, user, u) * d;
  stayed = d - part;
  return part;
}

// Unit u of row j on the way back, from `later` to `here`.
template <class Cell>
struct BackwardUnit {
  int64_t j, u, user;
  bool cut;  // nothing comes back from `later`: a row ends here, or is reset there
  float factor;
  float d[Cell::kStateCount], dy[Cell::kStateCount], share[Cell::kStateCount];
  float state[Cell::kStateCount], saved[Cell::kSavedCount], p[Cell::kUnitCount + 1];
};

template <class Cell, class E>
__device__ BackwardUnit<Cell> load_unit(const BackwardScan<E>& a, const Position& here,
                                        const Position& later, int64_t j, int64_t u) {
  constexpr int S = Cell::kStateCount, kSaved = Cell::kSavedCount;
  BackwardUnit<Cell> unit{j, u, user_row(a.plan, j), false, 1.0f, {}, {}, {}, {}, {}, {}};
  const int64_t H = a.H, user = unit.user, token = here.token + j;
  unit.cut = is_cut(a, later, j, user);
  unit.factor = factor_of(a.factors, H, user, u);
#pragma unroll
  for (int k = 0; k < S; ++k) unit.d[k] = arriving(a, k, later, unit.cut, j, user, u);
  if (j >= here.live) return unit;
#pragma unroll
  for (int i = 0; i < kSaved; ++i) unit.saved[i] = a.saved[(token * kSaved + i) * H + u];
#pragma unroll
  for (int i = 0; i < Cell::kUnitCount; ++i) unit.p[i] = unit_parameter(a.weight_unit, H, i, u);
#pragma unroll
  for (int k = 0; k < S; ++k) {
    unit.state[k] = a.states[k][token * H + u];
    if (a.dy[k].data != nullptr) unit.dy[k] = at(a.dy[k], here.t, user, u);
    if (a.update[k].data != nullptr) unit.share[k] = at(a.update[k], here.t, user, u);
  }
  return unit;
}

// The step of a unit. `product` is what dr W_hh of `later` adds to the gradient of h, where it is
// not in the carry yet, by the factor of h.
template <class Cell, class E>
__device__ void finish_unit(const BackwardScan<E>& a, const Position& here,
                            BackwardUnit<Cell>& unit, float product) {
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, P = Cell::kUnitCount;
  const int64_t H = a.H, j = unit.j, u = unit.u, token = here.token + j;
  if (!unit.cut) unit.d[0] = clip(multiply_add(unit.factor, product, unit.d[0]), a.clip_value);
  if (j >= here.live) {  // it began at `later`
#pragma unroll
    for (int k = 0; k < S; ++k) a.dinitial[k][unit.user * H + u] = unit.d[k];
    return;
  }
  float stayed[S] = {}, dx[G], dr[G], dp[P + 1];
#pragma unroll
  for (int k = 0; k < S; ++k) {
    unit.d[k] += unit.dy[k];
    if (a.update[k].data == nullptr) continue;
    const float taken = unit.share[k] * unit.d[k];
    stayed[k] = unit.d[k] - taken;
    unit.d[k] = taken;
  }
  with_options<Cell>(a, [&](const auto&... options) {
    Cell::backward(unit.saved, unit.p, unit.state, unit.d, dx, dr, dp, options...);
  });
#pragma unroll
  for (int k = 0; k < S; ++k) a.carry[k][j * H + u] = unit.d[k] + stayed[k];
#pragma unroll
  for (int g = 0; g < G; ++g) {
    a.dinput[(token * G + g) * H + u] = rounded<E>(dx[g]);
    if constexpr (Cell::kSplitGradient) a.drecurrent[(token * G + g) * H + u] = rounded<E>(dr[g]);
  }
#pragma unroll
  for (int i = 0; i < P; ++i) a.dunit[(token * P + i) * H + u] = dp[i];
}

}  // namespace unrolled::cuda
