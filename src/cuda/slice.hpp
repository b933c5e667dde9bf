// The part of a matrix that one block keeps in shared memory, and products with it.
//
// A block multiplies a tile of rows at a time. Its warps share the products by groups of weight
// rows and, where there are fewer groups than warps, by parts of the sum: a lane keeps kGroupRows *
// kTile sums in registers and takes every 32nd term. Lanes, then parts, are added in a fixed order
// that does not depend on the row's place in the batch.
#pragma once

#include "cuda/step_kernels.hpp"

namespace unrolled::cuda {

inline constexpr int kPersistentThreads = 256, kWarp = 32;
inline constexpr int kGroupRows = 8, kTileRows = 4;

// What a block of a persistent kernel holds in shared memory: `rows` rows of K weights, a tile of
// the rows that they are multiplied with, and the sums.
struct Slice {
  int64_t units;   // hidden units of a block, fewer in the last one
  int64_t blocks;  // that share the H units
  int64_t rows;    // of weights, for all units of a block
  int64_t K;
  int64_t parts;  // into which a sum is cut
  int tile;       // rows of the batch at a time
  bool rounded;   // weights are Bf16

  __host__ __device__ int64_t tile_at() const {
    return rounded ? floats_of<Bf16>(rows * K) : rows * K;
  }
  __host__ __device__ int64_t sums_at() const { return tile_at() + tile * K; }
  int64_t shared_bytes() const {
    return (sums_at() + parts * rows * tile) * static_cast<int64_t>(sizeof(float));
  }
};

inline Slice make_slice(int64_t H, int64_t rows_per_unit, int64_t K, int64_t B, bool rounded,
                        int64_t multiprocessors) {
  Slice slice;
  slice.units = ceil_div(H, larger(1, multiprocessors));
  slice.blocks = ceil_div(H, slice.units);
  slice.rows = slice.units * rows_per_unit;
  slice.K = K;
  const int64_t groups = ceil_div(slice.rows, kGroupRows);
  constexpr int64_t kWarps = kPersistentThreads / kWarp;
  slice.parts = groups < kWarps ? kWarps / groups : 1;
  slice.tile = B == 1 ? 1 : kTileRows;
  slice.rounded = rounded;
  return slice;
}

// Adds each of N values over the lanes of a warp; the sum of value i ends in lane i * 32 / N. Half
// of the lanes go on with half of the values each time, so that N = 32 takes 31 exchanges.
template <int N, int offset = kWarp / 2>
__device__ float add_lanes(float* value) {
  constexpr unsigned kAllLanes = 0xffffffffu;
  if constexpr (offset == 0) {
    return value[0];
  } else if constexpr (N == 1) {
    value[0] += __shfl_xor_sync(kAllLanes, value[0], offset);
    return add_lanes<1, offset / 2>(value);
  } else {
    const bool upper = (threadIdx.x & offset) != 0;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float sent = upper ? value[i] : value[i + N / 2];
      const float kept = upper ? value[i + N / 2] : value[i];
      value[i] = kept + __shfl_xor_sync(kAllLanes, sent, offset);
    }
    return add_lanes<N / 2, offset / 2>(value);
  }
}

// sums[part][weight row][tile row] = products of this block's weights with the rows of its tile.
template <int kTile, class E>
__device__ void multiply_slice(const Slice& slice, float* shared) {
  constexpr int N = kGroupRows * kTile, kLanesPerSum = kWarp / N;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t K = slice.K, groups = ceil_div(slice.rows, kGroupRows);
  const float* tile = shared + slice.tile_at();
  float* sums = shared + slice.sums_at();
  for (int64_t task = threadIdx.x / kWarp; task < groups * slice.parts;
       task += blockDim.x / kWarp) {
    const int64_t group = task % groups, part = task / groups;
    const E* weights[kGroupRows];
#pragma unroll
    for (int i = 0; i < kGroupRows; ++i) {  // a last group that is not full repeats its last row
      const int64_t row = group * kGroupRows + i;
      weights[i] =
          reinterpret_cast<const E*>(shared) + (row < slice.rows ? row : slice.rows - 1) * K;
    }
    float sum[N] = {};
    const int64_t end = K * (part + 1) / slice.parts;
    for (int64_t k = K * part / slice.parts + lane; k < end; k += kWarp) {
      float x[kTile];
#pragma unroll
      for (int j = 0; j < kTile; ++j) x[j] = tile[j * K + k];
#pragma unroll
      for (int i = 0; i < kGroupRows; ++i) {
        const float w = to_float(weights[i][k]);
#pragma unroll
        for (int j = 0; j < kTile; ++j)
          sum[i * kTile + j] = multiply_add(w, x[j], sum[i * kTile + j]);
      }
    }
    const float total = add_lanes<N>(sum);
    const int64_t row = group * kGroupRows + lane / kLanesPerSum / kTile;
    if (lane % kLanesPerSum == 0 && row < slice.rows)
      sums[(part * slice.rows + row) * kTile + lane / kLanesPerSum % kTile] = total;
  }
}

// One of the products that multiply_slice left.
template <int kTile>
__device__ float product(const Slice& slice, const float* shared, int64_t weight_row, int64_t j) {
  const float* sums = shared + slice.sums_at();
  float total = 0.0f;
  for (int64_t part = 0; part < slice.parts; ++part)
    total += sums[(part * slice.rows + weight_row) * kTile + j];
  return total;
}

// The rows [first, first + kTile) of a matrix into the tile; those from `rows` on are zero.
template <int kTile, class E>
__device__ void load_tile(const Slice& slice, float* shared, const E* matrix, int64_t first,
                          int64_t rows) {
  float* tile = shared + slice.tile_at();
#pragma unroll 4
  for (int64_t k = threadIdx.x; k < slice.K; k += blockDim.x)
#pragma unroll
    for (int j = 0; j < kTile; ++j)
      tile[j * slice.K + k] = first + j < rows ? to_float(matrix[(first + j) * slice.K + k]) : 0.0f;
}

}  // namespace unrolled::cuda
