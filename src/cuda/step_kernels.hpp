// The element-wise part of steps as kernels. Blocks of threads take neighbouring units of one row.
#pragma once

#include <cmath>

#include "cuda/step.hpp"

namespace unrolled::cuda {

inline constexpr int kStepThreads = 128;

__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
__host__ __device__ inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
__host__ __device__ inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

inline int64_t step_blocks(int64_t rows, int64_t H) { return rows * ceil_div(H, kStepThreads); }

struct Unit {
  int64_t row, u;
};

__device__ inline Unit own_unit(int64_t H) {
  const int64_t blocks = ceil_div(H, blockDim.x);
  return {blockIdx.x / blocks, blockIdx.x % blocks * blockDim.x + threadIdx.x};
}

// One step, behind its matrix product.
template <class E>
struct ForwardStep {
  ForwardScan<E> scan;
  Position here, next;
  const float* recurrent;  // (here.live, G*H): W_hh h
};

template <class Cell, class E>
__global__ void forward_step(ForwardStep<E> a) {
  constexpr int G = Cell::kGateCount;
  const int64_t H = a.scan.H;
  const auto [j, u] = own_unit(H);
  if (u >= H) return;
  float recurrent[G] = {};
  if (j < a.here.live)
#pragma unroll
    for (int g = 0; g < G; ++g) recurrent[g] = a.recurrent[(j * G + g) * H + u];
  finish_unit(a.scan, a.here, a.next, load_unit<Cell>(a.scan, a.here, j, u), recurrent);
}

template <class E>
struct BackwardStep {
  BackwardScan<E> scan;
  Position here, later;
  const float* product;  // (later.live, H): dr W_hh; null where the carry has it
};

template <class Cell, class E>
__global__ void backward_step(BackwardStep<E> a) {
  const auto [j, u] = own_unit(a.scan.H);
  if (u >= a.scan.H) return;
  BackwardUnit<Cell> unit = load_unit<Cell>(a.scan, a.here, a.later, j, u);
  const bool multiplied = a.product != nullptr && j < a.later.live;
  finish_unit(a.scan, a.here, unit, multiplied ? a.product[j * a.scan.H + u] : 0.0f);
}

// Between the product and a step that clips the norm of the gradient of h over a row.
template <class E>
struct NormClip {
  BackwardScan<E> scan;
  const float* product;  // as in BackwardStep
  float limit;
};

// One block per row; adds the product to the carry. The order of a sum depends on R alone.
template <class E>
__global__ void clip_norm(NormClip<E> a) {
  UNROLLED_SHARED(shared);
  auto* sums = reinterpret_cast<double*>(shared);  // [kStepThreads]
  const int64_t R = a.scan.R, j = blockIdx.x, user = user_row(a.scan.plan, j);
  float* row = a.scan.carry[0] + j * R;
  double sum = 0.0;  // a float has no room for the square of 1e20
  for (int64_t u = threadIdx.x; u < R; u += kStepThreads) {
    if (a.product != nullptr)
      row[u] = multiply_add(factor_of(a.scan.factors, R, user, u), a.product[j * R + u], row[u]);
    sum += static_cast<double>(row[u]) * static_cast<double>(row[u]);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  sum = 0.0;
  for (int thread = 0; thread < kStepThreads; ++thread) sum += sums[thread];
  const double factor = static_cast<double>(a.limit) / ::sqrt(sum);
  if (factor >= 1.0) return;  // not where it is NaN, which goes on
  for (int64_t u = threadIdx.x; u < R; u += kStepThreads) row[u] *= static_cast<float>(factor);
}

// All steps of a cell without a recurrent product: its units do not see each other.
template <class Cell, class E>
__global__ void forward_alone(ForwardScan<E> a) {
  const auto [j, u] = own_unit(a.H);
  if (u >= a.H) return;
  for (int64_t s = -1; s < a.plan.T; ++s) {
    const Position here = position(a.plan, s), next = position(a.plan, s + 1);
    if (s >= 0 && j >= larger(here.live, next.live)) continue;
    float recurrent[Cell::kGateCount] = {};
    finish_unit(a, here, next, load_unit<Cell>(a, here, j, u), recurrent);
  }
}

template <class Cell, class E>
__global__ void backward_alone(BackwardScan<E> a) {
  const auto [j, u] = own_unit(a.H);
  if (u >= a.H) return;
  for (int64_t s = a.plan.T - 1; s >= -1; --s) {
    const Position here = position(a.plan, s), later = position(a.plan, s + 1);
    if (j >= larger(here.live, later.live)) continue;
    BackwardUnit<Cell> unit = load_unit<Cell>(a, here, later, j, u);
    finish_unit(a, here, unit, 0.0f);
  }
}

}  // namespace unrolled::cuda
