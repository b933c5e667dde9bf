// Steps of a cell whose products are normalised, for which a row has to be whole: kernels with one
// block per row, whose threads take units in turns and add over the row where a norm wants a sum.
// See cells/all.hpp for what a cell states.
#pragma once

#include "cuda/rows.hpp"
#include "cuda/slice.hpp"

namespace unrolled::cuda {

template <class Cell>
concept Normalised = requires { Cell::kNormalisesCell; };

inline constexpr float kNormEpsilon = 1e-5f;  // added to variances, as in torch.nn.LayerNorm
inline constexpr int kMostSums = 4;           // over a row at a time
inline constexpr int64_t kRowSharedBytes = kStepThreads / kWarp * kMostSums * sizeof(float);

// Values of a unit and a token that backward reads: the cell's, and the normalised gates.
template <Normalised Cell>
inline constexpr int kKept = Cell::kSavedCount + 2 * Cell::kGateCount;

// Each of N sums over the threads of a block, for all of them, always in the same order.
template <int N>
__device__ void sum_block(float* shared, float (&sum)[N]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    sum[i] = add_lanes<1>(&sum[i]);
    if (lane == 0) shared[warp * N + i] = sum[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    sum[i] = 0.0f;
    for (int other = 0; other < kStepThreads / kWarp; ++other) sum[i] += shared[other * N + i];
  }
  __syncthreads();  // before the next sums are written
}

struct RowMoments {
  float mean, inverse;  // one over the standard deviation

  __device__ float normalised(float x) const { return (x - mean) * inverse; }
};

// Those of a row: the mean first, then squares around it.
__device__ inline RowMoments moments_of(const float* row, int64_t width, float* shared) {
  float sum[1] = {};
  for (int64_t i = threadIdx.x; i < width; i += kStepThreads) sum[0] += row[i];
  sum_block(shared, sum);
  const float mean = sum[0] / static_cast<float>(width);
  float square[1] = {};
  for (int64_t i = threadIdx.x; i < width; i += kStepThreads)
    square[0] = multiply_add(row[i] - mean, row[i] - mean, square[0]);
  sum_block(shared, square);
  return {mean, 1.0f / ::sqrtf(square[0] / static_cast<float>(width) + kNormEpsilon)};
}

// Through v = gain * hat, hat = norm(x), of one row: dx = (d - mean(d) - hat * mean(d * hat)) /
// deviation with d = gain * dv.
struct NormBackward {
  float mean, product_mean, inverse;

  __device__ float dx(float d, float hat) const {
    return inverse * (d - mean - hat * product_mean);
  }
};

// Rows of the input part, normalised where they lie.
struct InputNorm {
  float* gates;    // (tokens, width)
  float* inverse;  // two for each token, this one first; null: not wanted
  int64_t width;
};

// One block per token.
static __global__ void normalise_input(InputNorm a) {
  UNROLLED_SHARED(shared);
  float* row = a.gates + blockIdx.x * a.width;
  const RowMoments moments = moments_of(row, a.width, shared);
  for (int64_t i = threadIdx.x; i < a.width; i += kStepThreads) row[i] = moments.normalised(row[i]);
  if (a.inverse != nullptr && threadIdx.x == 0) a.inverse[2 * blockIdx.x] = moments.inverse;
}

struct NormForward {
  ForwardScan<float> scan;  // gates: normalised
  Position here, next;
  float* product;  // (here.live, G*H): W_hh h
  float* inverse;  // two for each token
};

// One block per row.
template <Normalised Cell>
__global__ void normalised_forward(NormForward a) {
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount;
  UNROLLED_SHARED(shared);
  const ForwardScan<float>& scan = a.scan;
  const int64_t H = scan.H, j = blockIdx.x, user = user_row(scan.plan, j);
  const Onward to = onward(scan, a.next, j, user);
  if (j >= a.here.live) {
    for (int64_t u = threadIdx.x; u < H; u += kStepThreads)
#pragma unroll
      for (int k = 0; k < S; ++k)
        hand_over(scan, k, a.next, to, j, user, u, beginning(scan, k, user, u));
    return;
  }
  const int64_t token = a.here.token + j, entering = state_row(scan, a.here) + j;
  const auto leave = [&](int k, int64_t u, float made) {
    const float before = scan.states[k][entering * H + u];
    const bool shared_out = scan.update[k].data != nullptr;
    const float share = shared_out ? at(scan.update[k], a.here.t, user, u) : 1.0f;
    hand_over(scan, k, a.next, to, j, user, u,
              settle(scan, k, a.here, user, u, before, made, share));
  };
  float* row = a.product + j * G * H;
  const RowMoments moments = moments_of(row, G * H, shared);
  if (scan.saved != nullptr && threadIdx.x == 0) a.inverse[2 * token + 1] = moments.inverse;
  for (int64_t u = threadIdx.x; u < H; u += kStepThreads) {
    float x[G], r[G], state[S], next[S], saved[kKept<Cell>];
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const int64_t p = g * H + u;
      const float x_hat = scan.gates[token * G * H + p], r_hat = moments.normalised(row[p]);
      x[g] = x_hat * scan.weight_unit[p];
      r[g] = r_hat * scan.weight_unit[G * H + p];
      if (scan.bias_input != nullptr) x[g] += scan.bias_input[p];
      if (scan.bias_recurrent != nullptr) r[g] += scan.bias_recurrent[p];
      saved[Cell::kSavedCount + g] = x_hat;
      saved[Cell::kSavedCount + G + g] = r_hat;
    }
#pragma unroll
    for (int k = 0; k < S; ++k) state[k] = scan.states[k][entering * H + u];
    constexpr float* kNone = nullptr;
    with_options<Cell>(scan, [&](const auto&... options) {
      Cell::forward(x, r, kNone, state, next, saved, options...);
    });
    if constexpr (Cell::kNormalisesCell) {  // over what this thread has read of the product
      row[u] = next[1];
      row[H + u] = next[0];  // the gate that makes h of the normalised cell
    } else {
      leave(0, u, next[0]);
    }
#pragma unroll
    for (int k = 1; k < S; ++k) leave(k, u, next[k]);
    if (scan.saved != nullptr)
#pragma unroll
      for (int i = 0; i < kKept<Cell>; ++i)
        scan.saved[(token * kKept<Cell> + i) * H + u] = saved[i];
  }
  if constexpr (Cell::kNormalisesCell) {
    const float *gain = scan.weight_unit + 2 * G * H, *shift = gain + H;
    const RowMoments of_cell = moments_of(row, H, shared);
    for (int64_t u = threadIdx.x; u < H; u += kStepThreads) {
      const float n = multiply_add(of_cell.normalised(row[u]), gain[u], shift[u]);
      leave(0, u, Cell::output(row[H + u], n));
    }
  }
}

struct NormBackwardStep {
  BackwardScan<float> scan;  // dinput, drecurrent: before the norms
  Position here, later;
  const float* product;  // (later.live, H): dr W_hh; null where the carry has it
  const float* inverse;  // two for each token
  // Gradients behind the norms: (tokens, G*H), the same array unless the cell splits them, and
  // (tokens, H) of the normalised cell, which is `cell`.
  float *dx, *dr, *dcell, *cell;
};

// One block per row.
template <Normalised Cell>
__global__ void normalised_backward(NormBackwardStep a) {
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, kSaved = Cell::kSavedCount;
  UNROLLED_SHARED(shared);
  const BackwardScan<float>& scan = a.scan;
  const int64_t H = scan.H, j = blockIdx.x, user = user_row(scan.plan, j);
  const bool cut = is_cut(scan, a.later, j, user);
  const auto arrived = [&](int k, int64_t u) {
    const float d = arriving(scan, k, a.later, cut, j, user, u);
    if (k > 0 || cut) return d;
    const float product = a.product == nullptr ? 0.0f : a.product[j * H + u];
    return clip(multiply_add(factor_of(scan.factors, H, user, u), product, d), scan.clip_value);
  };
  if (j >= a.here.live) {
    for (int64_t u = threadIdx.x; u < H; u += kStepThreads)
#pragma unroll
      for (int k = 0; k < S; ++k) scan.dinitial[k][user * H + u] = arrived(k, u);
    return;
  }
  const int64_t token = a.here.token + j;
  const auto load_own = [&](int64_t u, float* saved, float* state) {
#pragma unroll
    for (int i = 0; i < kSaved; ++i) saved[i] = scan.saved[(token * kKept<Cell> + i) * H + u];
#pragma unroll
    for (int k = 0; k < S; ++k) state[k] = scan.states[k][token * H + u];
  };
  // Normalised gates, of the input part and behind it of the recurrent part.
  const float* hats = scan.saved + (token * kKept<Cell> + kSaved) * H;
  const float* gains = scan.weight_unit;  // likewise
  float *dx_row = a.dx + token * G * H, *dr_row = a.dr + token * G * H;

  NormBackward of_cell{};
  if constexpr (Cell::kNormalisesCell) {
    float *cell = a.cell + token * H, *dcell = a.dcell + token * H;
    const float *gain = gains + 2 * G * H, *shift = gain + H;
    float saved[kSaved], state[S], sums[2] = {};
    for (int64_t u = threadIdx.x; u < H; u += kStepThreads) {
      load_own(u, saved, state);
      cell[u] = Cell::cell(saved, state, scan.cell_limit);
    }
    const RowMoments moments = moments_of(cell, H, shared);
    for (int64_t u = threadIdx.x; u < H; u += kStepThreads) {
      float dx[G], dn, stayed;
      load_own(u, saved, state);
      const float hat = moments.normalised(cell[u]);
      const float dh = taken(scan, 0, a.here, user, u, arrived(0, u), stayed);
      Cell::output_backward(saved, multiply_add(hat, gain[u], shift[u]), dh, dn, dx);
      sums[0] += gain[u] * dn;
      sums[1] = multiply_add(gain[u] * dn, hat, sums[1]);
      cell[u] = hat;
      dcell[u] = dn;
      dx_row[(G - 1) * H + u] = dx[G - 1];
    }
    sum_block(shared, sums);
    const auto count = static_cast<float>(H);
    of_cell = {sums[0] / count, sums[1] / count, moments.inverse};
  }
  float sums[kMostSums] = {};
  for (int64_t u = threadIdx.x; u < H; u += kStepThreads) {
    float saved[kSaved], state[S], d[S], stayed[S], dx[G], dr[G];
    load_own(u, saved, state);
#pragma unroll
    for (int k = 0; k < S; ++k) d[k] = taken(scan, k, a.here, user, u, arrived(k, u), stayed[k]);
    if constexpr (Cell::kNormalisesCell) {
      dx[G - 1] = dx_row[(G - 1) * H + u];
      d[1] += of_cell.dx(gains[2 * G * H + u] * a.dcell[token * H + u], a.cell[token * H + u]);
    }
    constexpr float* kNone = nullptr;
    with_options<Cell>(scan, [&](const auto&... options) {
      Cell::backward(saved, kNone, state, d, dx, dr, kNone, options...);
    });
#pragma unroll
    for (int k = 0; k < S; ++k) scan.carry[k][j * H + u] = d[k] + stayed[k];
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const int64_t p = g * H + u, q = G * H + p;
      if constexpr (!Cell::kSplitGradient) dr[g] = dx[g];
      sums[0] += gains[p] * dx[g];
      sums[1] = multiply_add(gains[p] * dx[g], hats[p], sums[1]);
      sums[2] += gains[q] * dr[g];
      sums[3] = multiply_add(gains[q] * dr[g], hats[q], sums[3]);
      dx_row[p] = dx[g];
      if constexpr (Cell::kSplitGradient) dr_row[p] = dr[g];
    }
  }
  sum_block(shared, sums);
  const auto count = static_cast<float>(G * H);
  const NormBackward of_input{sums[0] / count, sums[1] / count, a.inverse[2 * token]};
  const NormBackward of_recurrent{sums[2] / count, sums[3] / count, a.inverse[2 * token + 1]};
  for (int64_t u = threadIdx.x; u < H; u += kStepThreads)
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const int64_t p = g * H + u, q = G * H + p;
      scan.dinput[token * G * H + p] = of_input.dx(gains[p] * dx_row[p], hats[p]);
      scan.drecurrent[token * G * H + p] = of_recurrent.dx(gains[q] * dr_row[p], hats[q]);
    }
}

}  // namespace unrolled::cuda
