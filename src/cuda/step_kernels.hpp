// One kernel per step: the element-wise part that follows a matrix product. Blocks of threads take
// neighbouring units of one row.
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

struct ForwardStep {
  ForwardScan scan;
  Position here, next;
  const float* recurrent;  // (here.live, G*H): W_hh h
};

template <class Cell>
__global__ void forward_step(ForwardStep a) {
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

struct BackwardStep {
  BackwardScan scan;
  Position here, later;
};

template <class Cell>
__global__ void backward_step(BackwardStep a) {
  const auto [j, u] = own_unit(a.scan.H);
  if (u >= a.scan.H) return;
  BackwardUnit<Cell> unit = load_unit<Cell>(a.scan, a.here, a.later, j, u);
  finish_unit(a.scan, a.here, unit, 0.0f);
}

}  // namespace unrolled::cuda
