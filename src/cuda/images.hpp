// Images on CUDA, channels last: convolutions, pooling and batch normalisation; see
// kernels/image_table.hpp for the letters. As sequence.hpp, this puts work on the device's stream,
// and neither allocates nor waits.
#pragma once

#include "cuda/sequence.hpp"
#include "kernels/image_table.hpp"

namespace unrolled::cuda {

// y = activation(bias + residual + convolution of x by weight)
struct Conv {
  WindowShape shape;
  int64_t O, groups;
  const float *x, *weight;       // (N, H, W, C), (O, C / groups, h, w)
  const float *bias, *residual;  // (O,), as y; each may be null
  float* y;                      // (N, H', W', O)
  Activation activation;
  float* scratch;  // so many floats:
};
int64_t conv_scratch(const WindowShape& shape, int64_t O, int64_t groups);
void conv(const Conv& args, Device& device);

struct ConvBackward {
  WindowShape shape;
  int64_t O, groups;
  const float *x, *weight, *y, *dy;
  Activation activation;   // y is its result
  float* dx;               // (N, H, W, C); null: not wanted
  float *dweight, *dbias;  // added to; dbias may be null
  float* scratch;          // so many floats:
};
int64_t conv_backward_scratch(const WindowShape& shape, int64_t O, int64_t groups,
                              Activation activation);
void conv_backward(const ConvBackward& args, Device& device);

// The largest value that each window sees; padding never wins, a NaN always does.
struct MaxPool {
  WindowShape shape;
  const float* x;
  float* y;
};
void max_pool(const MaxPool& args, Device& device);

// dy goes to the first of the places that are the largest.
struct MaxPoolBackward {
  WindowShape shape;
  const float *x, *y, *dy;
  float* dx;
};
void max_pool_backward(const MaxPoolBackward& args, Device& device);

// Mean and (biased) variance (C,) of x (rows, C).
struct Moments {
  int64_t rows, C;
  const float* x;
  float *mean, *variance;
};
void moments(const Moments& args, Device& device);

// y = activation((x - mean) * weight / sqrt(variance + epsilon) + bias)
struct Normalise {
  int64_t rows, C;
  const float *x, *mean, *variance, *weight, *bias;
  float epsilon;
  Activation activation;
  float* y;
};
void normalise(const Normalise& args, Device& device);

struct NormaliseBackward {
  int64_t rows, C;
  const float *x, *mean, *variance, *weight, *y, *dy;
  float epsilon;
  Activation activation;
  bool of_batch;           // mean and variance are those of x
  float *dweight, *dbias;  // added to
  float* dx;               // null: not wanted
  float* sums;             // scratch: (2, C)
};
void normalise_backward(const NormaliseBackward& args, Device& device);

}  // namespace unrolled::cuda
