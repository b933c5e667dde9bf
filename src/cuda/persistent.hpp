// All steps in one kernel. Each block owns some hidden units: it loads their recurrent weights into
// shared memory once and multiplies with them at every step. What the blocks exchange goes through
// global memory, and between two steps they all wait for each other. This is for few rows: there
// the time of a step is that of reading the weights and of launching kernels, and here is neither.
// After "Persistent RNNs" (Diamos et al. 2016).
#pragma once

#include "cuda/slice.hpp"

namespace unrolled::cuda {

template <class Scan, class E>
struct Persistent {
  Scan scan;
  Slice slice;
  const E* weight_hh;
  unsigned* counter;  // of the blocks that have come to the end of a step; begins as zero
};

struct Counter {
  unsigned* value;
};

static __global__ void clear_counter(Counter counter) { *counter.value = 0; }

// Waits until `arrivals` blocks have come here since the counter was zero. What a block wrote
// before, all read behind.
__device__ inline void wait_for_all(unsigned* counter, unsigned arrivals) {
  __syncthreads();
  if (threadIdx.x == 0) {
    arrive(counter);
    while (static_cast<int>(peek(counter) - arrivals) < 0) {
    }
  }
  __syncthreads();
}

// The units of this block, and the one of them that this thread applies the cell to, in row `row`
// of each tile.
struct OwnUnits {
  int64_t first, count, u;
  int row;

  __device__ OwnUnits(int64_t H, const Slice& slice)
      : first(blockIdx.x * slice.units), count(smaller(slice.units, H - first)) {
    const int threads = static_cast<int>(count), thread = static_cast<int>(threadIdx.x);
    u = thread % threads;
    row = thread / threads;
  }
};

template <class Cell, class E, int kTile>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_forward(Persistent<ForwardScan<E>, E> a) {
  constexpr int G = Cell::kGateCount;
  UNROLLED_SHARED(shared);
  const int64_t H = a.scan.H, T = a.scan.plan.T;
  E* weights = reinterpret_cast<E*>(shared);
  const OwnUnits own(H, a.slice);
  a.slice.rows = own.count * G;
  for (int64_t row = 0; row < a.slice.rows; ++row)  // row u * G + g
    for (int64_t k = threadIdx.x; k < H; k += blockDim.x)
      weights[row * H + k] = a.weight_hh[(row % G * H + own.first + row / G) * H + k];
  Position next = position(a.scan.plan, 0);
  for (int64_t s = 0; s < T; ++s) {
    const Position here = next;
    next = position(a.scan.plan, s + 1);
    const int64_t rows = larger(here.live, next.live);
    const E* h = a.scan.h + state_row(a.scan, here) * H;
    for (int64_t first = 0; first < rows; first += kTile) {
      const int64_t j = first + own.row;
      const bool has_unit = own.row < kTile && j < rows;
      ForwardUnit<Cell> unit{};
      if (has_unit) unit = load_unit<Cell>(a.scan, here, j, own.first + own.u);
      load_tile<kTile>(a.slice, shared, h, first, here.live);
      __syncthreads();
      multiply_slice<kTile, E>(a.slice, shared);
      __syncthreads();
      if (!has_unit) continue;
      float recurrent[G];
#pragma unroll
      for (int g = 0; g < G; ++g)
        recurrent[g] = product<kTile>(a.slice, shared, own.u * G + g, own.row);
      finish_unit(a.scan, here, next, unit, recurrent);
    }
    if (s + 1 < T) wait_for_all(a.counter, static_cast<unsigned>(s + 1) * gridDim.x);
  }
}

template <class Cell, class E, int kTile>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_backward(Persistent<BackwardScan<E>, E> a) {
  UNROLLED_SHARED(shared);
  const int64_t H = a.scan.H, T = a.scan.plan.T, K = a.slice.K;
  E* weights = reinterpret_cast<E*>(shared);
  const OwnUnits own(H, a.slice);
  a.slice.rows = own.count;
  for (int64_t i = threadIdx.x; i < own.count * K; i += blockDim.x)  // columns of W_hh as rows
    weights[i % own.count * K + i / own.count] =
        a.weight_hh[i / own.count * H + own.first + i % own.count];
  Position here = position(a.scan.plan, T);
  for (int64_t s = T - 1; s >= -1; --s) {
    const Position later = here;
    here = position(a.scan.plan, s);
    const int64_t rows = larger(here.live, later.live);
    const E* dr = a.scan.drecurrent + later.token * K;
    for (int64_t first = 0; first < rows; first += kTile) {
      const int64_t j = first + own.row;
      const bool has_unit = own.row < kTile && j < rows;
      BackwardUnit<Cell> unit{};
      if (has_unit) unit = load_unit<Cell>(a.scan, here, later, j, own.first + own.u);
      load_tile<kTile>(a.slice, shared, dr, first, later.live);
      __syncthreads();
      multiply_slice<kTile, E>(a.slice, shared);
      __syncthreads();
      if (has_unit)
        finish_unit(a.scan, here, unit, product<kTile>(a.slice, shared, own.u, own.row));
    }
    if (s >= 0) wait_for_all(a.counter, static_cast<unsigned>(T - s) * gridDim.x);
  }
}

}  // namespace unrolled::cuda
