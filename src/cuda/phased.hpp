// Steps of a cell with two products, of which the second multiplies whole rows m that the first one
// made: its two phases as kernels, forward and back. Each phase hands over the states that it
// makes: the second one h, the first one all others. See cells/all.hpp for what a cell states.
#pragma once

#include "cuda/step_kernels.hpp"

namespace unrolled::cuda {

template <class Cell>
concept Phased = requires { Cell::kFirstGates; };

// The first state that has the units of the gates; only a projected h has others.
template <Phased Cell>
inline constexpr int kOwnState = Cell::kProjects ? 1 : 0;

struct PhasedForward {
  ForwardScan<float> scan;
  Position here, next;
  const float* product;  // (here.live, F*H) of the first phase, (here.live, R) of the second
  const float* bias;     // of these products' gates; null: none
  float* middle;         // (here.live, H): m
  float* values;         // what `saved` is to backward, where the first phase's values
  int64_t first_value;   // of the second are, too: for the rows from this one on
};

template <Phased Cell>
__device__ float& value_at(const PhasedForward& a, int64_t j, int i, int64_t u) {
  return a.values[((a.first_value + j) * Cell::kSavedCount + i) * a.scan.H + u];
}

// The input part of all gates of a unit, with its bias.
template <Phased Cell>
__device__ void load_gates(const ForwardScan<float>& a, int64_t token, int64_t u, float* x) {
#pragma unroll
  for (int g = 0; g < Cell::kGateCount; ++g) {
    x[g] = a.gates[(token * Cell::kGateCount + g) * a.H + u];
    if (a.bias_input != nullptr) x[g] += a.bias_input[g * a.H + u];
  }
}

// One thread a unit of the gates.
template <Phased Cell>
__global__ void first_forward(PhasedForward a) {
  constexpr int S = Cell::kStateCount, F = Cell::kFirstGates;
  const ForwardScan<float>& scan = a.scan;
  const int64_t H = scan.H;
  const auto [j, u] = own_unit(H);
  if (u >= H) return;
  const int64_t user = user_row(scan.plan, j), row = state_row(scan, a.here) + j;
  float leaving[S];
  if (j < a.here.live) {
    float x[Cell::kGateCount], r[F], state[S] = {}, saved[Cell::kSavedCount];
    load_gates<Cell>(scan, a.here.token + j, u, x);
#pragma unroll
    for (int g = 0; g < F; ++g) {
      r[g] = a.product[(j * F + g) * H + u];
      if (a.bias != nullptr) r[g] += a.bias[g * H + u];
    }
#pragma unroll
    for (int k = kOwnState<Cell>; k < S; ++k)
      state[k] = k == 0 ? scan.h[row * H + u] : scan.states[k][row * H + u];
    float& m = a.middle[j * H + u];
    with_options<Cell>(scan, [&](const auto&... options) {
      Cell::first(x, r, state, leaving, saved, m, options...);
    });
#pragma unroll
    for (int i = 0; i < Cell::kFirstSaved; ++i) value_at<Cell>(a, j, i, u) = saved[i];
#pragma unroll
    for (int k = 1; k < S; ++k) {
      const bool shared = scan.update[k].data != nullptr;
      leaving[k] = settle(scan, k, a.here, user, u, state[k], leaving[k],
                          shared ? at(scan.update[k], a.here.t, user, u) : 1.0f);
    }
  } else {
#pragma unroll
    for (int k = 1; k < S; ++k) leaving[k] = beginning(scan, k, user, u);
  }
  const Onward to = onward(scan, a.next, j, user);
#pragma unroll
  for (int k = 1; k < S; ++k) hand_over(scan, k, a.next, to, j, user, u, leaving[k]);
}

// One thread a unit of h.
template <Phased Cell>
__global__ void second_forward(PhasedForward a) {
  constexpr int S = Cell::kStateCount;
  const ForwardScan<float>& scan = a.scan;
  const int64_t R = scan.R;
  const auto [j, u] = own_unit(R);
  if (u >= R) return;
  const int64_t user = user_row(scan.plan, j);
  float leaving[S];
  if (j < a.here.live) {
    float x[Cell::kGateCount], state[S] = {}, saved[Cell::kSavedCount];
    state[0] = scan.states[0][(state_row(scan, a.here) + j) * R + u];
    if constexpr (!Cell::kProjects) {
      load_gates<Cell>(scan, a.here.token + j, u, x);
#pragma unroll
      for (int i = 0; i < Cell::kFirstSaved; ++i) saved[i] = value_at<Cell>(a, j, i, u);
    }
    float sum = a.product[j * R + u];
    if (a.bias != nullptr) sum += a.bias[u];
    if constexpr (Cell::kFunctionCount > 0)
      Cell::second(x, sum, state, leaving, saved, scan.choice);
    else
      Cell::second(x, sum, state, leaving, saved);
#pragma unroll
    for (int i = Cell::kFirstSaved; i < Cell::kSavedCount; ++i)
      value_at<Cell>(a, j, i, u) = saved[i];
    const bool shared = scan.update[0].data != nullptr;
    leaving[0] = settle(scan, 0, a.here, user, u, state[0], leaving[0],
                        shared ? at(scan.update[0], a.here.t, user, u) : 1.0f);
  } else {
    leaving[0] = beginning(scan, 0, user, u);
  }
  hand_over(scan, 0, a.next, onward(scan, a.next, j, user), j, user, u, leaving[0]);
}

struct PhasedBackward {
  BackwardScan<float> scan;  // drecurrent: of the gates of the first phase
  Position here, later;
  const float* product;     // (later.live, R): what comes through W_hh; null where the carry has it
  const float* dmiddle;     // (here.live, H): gradient of m
  float *dsecond, *middle;  // (tokens, R): of the second product; (tokens, H): m
};

template <Phased Cell>
__device__ void load_saved(const BackwardScan<float>& a, int64_t token, int64_t u, float* saved) {
#pragma unroll
  for (int i = 0; i < Cell::kSavedCount; ++i)
    saved[i] = a.saved[(token * Cell::kSavedCount + i) * a.H + u];
}

// One thread a unit of h.
template <Phased Cell>
__global__ void second_backward(PhasedBackward a) {
  const BackwardScan<float>& scan = a.scan;
  const int64_t R = scan.R;
  const auto [j, u] = own_unit(R);
  if (u >= R) return;
  const int64_t user = user_row(scan.plan, j), token = a.here.token + j;
  const bool cut = is_cut(scan, a.later, j, user);
  float d[Cell::kStateCount] = {arriving(scan, 0, a.later, cut, j, user, u)};
  if (!cut) {
    const float product = a.product == nullptr ? 0.0f : a.product[j * R + u];
    d[0] = clip(multiply_add(factor_of(scan.factors, R, user, u), product, d[0]), scan.clip_value);
  }
  if (j >= a.here.live) {
    scan.dinitial[0][user * R + u] = d[0];
    return;
  }
  float saved[Cell::kSavedCount], state[Cell::kStateCount], dx[Cell::kGateCount], du, stayed;
  d[0] = taken(scan, 0, a.here, user, u, d[0], stayed);
  if constexpr (!Cell::kProjects) {
    load_saved<Cell>(scan, token, u, saved);
    state[0] = scan.states[0][token * R + u];
  }
  if constexpr (Cell::kFunctionCount > 0)
    Cell::second_backward(saved, state, d, dx, du, scan.choice);
  else
    Cell::second_backward(saved, state, d, dx, du);
  scan.carry[0][j * R + u] = d[0] + stayed;
  a.dsecond[token * R + u] = du;
#pragma unroll
  for (int g = Cell::kFirstGradients; g < Cell::kGateCount; ++g)
    scan.dinput[(token * Cell::kGateCount + g) * scan.H + u] = dx[g];
}

// One thread a unit of the gates.
template <Phased Cell>
__global__ void first_backward(PhasedBackward a) {
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, F = Cell::kFirstGates;
  const BackwardScan<float>& scan = a.scan;
  const int64_t H = scan.H;
  const auto [j, u] = own_unit(H);
  if (u >= H) return;
  const int64_t user = user_row(scan.plan, j), token = a.here.token + j;
  const bool cut = is_cut(scan, a.later, j, user);
  float d[S], stayed[S] = {};
#pragma unroll
  for (int k = 1; k < S; ++k) d[k] = arriving(scan, k, a.later, cut, j, user, u);
  if (j >= a.here.live) {
#pragma unroll
    for (int k = 1; k < S; ++k) scan.dinitial[k][user * H + u] = d[k];
    return;
  }
  float saved[Cell::kSavedCount], state[S], dx[G];
  load_saved<Cell>(scan, token, u, saved);
#pragma unroll
  for (int k = kOwnState<Cell>; k < S; ++k) state[k] = scan.states[k][token * H + u];
#pragma unroll
  for (int k = 1; k < S; ++k) d[k] = taken(scan, k, a.here, user, u, d[k], stayed[k]);
  float* gradients = scan.dinput + token * G * H + u;
#pragma unroll
  for (int g = Cell::kFirstGradients; g < G; ++g) dx[g] = gradients[g * H];
  float factor = 1.0f;
  if constexpr (!Cell::kProjects) {
    // What comes through m comes through the factors of h, too, and the rest does not.
    factor = factor_of(scan.factors, H, user, u);
    state[0] *= factor;
    stayed[0] = scan.carry[0][j * H + u];
    d[0] = 0.0f;
  }
  const float dm = a.dmiddle[j * H + u];
  float& m = a.middle[token * H + u];
  with_options<Cell>(scan, [&](const auto&... options) {
    Cell::first_backward(saved, state, dm, d, dx, m, options...);
  });
  if constexpr (!Cell::kProjects) d[0] *= factor;
#pragma unroll
  for (int k = kOwnState<Cell>; k < S; ++k) scan.carry[k][j * H + u] = d[k] + stayed[k];
#pragma unroll
  for (int g = 0; g < Cell::kFirstGradients; ++g) gradients[g * H] = dx[g];
  if constexpr (F < G)
#pragma unroll
    for (int g = 0; g < F; ++g) scan.drecurrent[(token * F + g) * H + u] = dx[g];
}

}  // namespace unrolled::cuda
