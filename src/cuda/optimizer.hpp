// The steps of optimizers over flat arrays on CUDA; see kernels/elementwise.hpp for the CPU's.
#pragma once

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

void adam(const AdamArgs<float>& args, Device& device);
void sgd(const SgdArgs<float>& args, Device& device);
void rmsprop(const RmspropArgs<float>& args, Device& device);

// average += weight * (values - average)
struct AverageArgs {
  int64_t size;
  const float* values;
  float* average;
  float weight;
};
void average(const AverageArgs& args, Device& device);

// Sums of squares of blocks of so many elements, in double.
inline constexpr int64_t kSquareBlock = 1 << 14;
struct SquareSums {
  int64_t size;
  const float* values;
  double* sums;  // one a block
};
void square_sums(const SquareSums& args, Device& device);

}  // namespace unrolled::cuda
