// The element-wise part of steps as kernels. Blocks of threads take neighbouring units of one row.
#pragma once

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
};

template <class Cell, class E>
__global__ void backward_step(BackwardStep<E> a) {
  const auto [j, u] = own_unit(a.scan.H);
  if (u >= a.scan.H) return;
  BackwardUnit<Cell> unit = load_unit<Cell>(a.scan, a.here, a.later, j, u);
  finish_unit(a.scan, a.here, unit, 0.0f);
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
