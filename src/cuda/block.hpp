// A block of threads that works on one row together: sums and largest values over all of it.
#pragma once

#include "cuda/slice.hpp"

namespace unrolled::cuda {

inline constexpr int kBlockThreads = 256, kBlockWarps = kBlockThreads / kWarp;
inline constexpr int64_t kBlockSharedBytes = kBlockWarps * sizeof(float);  // of combine_block

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Largest {
  __device__ float operator()(float a, float b) const { return max(a, b); }
};

// A value of each thread of a block, combined for all of them, always in the same order. What the
// threads wrote before, all of them see behind it.
template <class Combine>
__device__ float combine_block(float* shared, float value, Combine combine) {
  constexpr unsigned kAllLanes = 0xffffffffu;
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  __syncthreads();  // what was combined before has been read
  if (threadIdx.x % kWarp == 0) shared[warp] = value;
  __syncthreads();
  value = shared[0];
  for (int other = 1; other < kBlockWarps; ++other) value = combine(value, shared[other]);
  return value;
}

// log(sum(exp(row))) for all threads of a block. A NaN, which the largest value does not show,
// stays in the sum.
__device__ inline float log_sum_exp(const float* row, int64_t width, float* shared) {
  float top = -INFINITY;
  for (int64_t i = threadIdx.x; i < width; i += kBlockThreads) top = max(top, row[i]);
  top = combine_block(shared, top, Largest{});
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kBlockThreads) sum += exp(row[i] - top);
  return top + ::logf(combine_block(shared, sum, Sum{}));
}

}  // namespace unrolled::cuda
