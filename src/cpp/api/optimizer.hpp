// Fused optimizer steps and the norm over flat 1-D buffers.
#pragma once

#include "api/array.hpp"

namespace unrolled {

// The gradient that an optimizer sees is grads * scale, clamped to -limit..limit.
struct GradientOptions {
  double scale, limit;
};

struct AdamOptions {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;  // from 1
  bool decoupled;
  GradientOptions gradient;
};

template <class T>
void run_adam(const ArrayView& values, const ArrayView& grads, const ArrayView& first,
              const ArrayView& second, const AdamOptions& options);

struct SgdOptions {
  double learning_rate, momentum, weight_decay;
  bool nesterov;
  GradientOptions gradient;
};

// `velocity` may be absent when momentum is 0.
template <class T>
void run_sgd(const ArrayView& values, const ArrayView& grads, const ArrayView& velocity,
             const SgdOptions& options);

struct RmspropOptions {
  double learning_rate, alpha, epsilon, momentum, weight_decay;
  GradientOptions gradient;
};

// `mean` is absent unless the variance is centered; `velocity` may be absent when momentum is 0.
template <class T>
void run_rmsprop(const ArrayView& values, const ArrayView& grads, const ArrayView& square,
                 const ArrayView& mean, const ArrayView& velocity, const RmspropOptions& options);

// average += weight * (values - average)
template <class T>
void run_average(const ArrayView& values, const ArrayView& average, double weight);

// Sets every element to zero.
template <class T>
void run_zero(const ArrayView& values);

// sqrt(sum of squares), summed in double in an order that does not depend on threads.
template <class T>
double run_norm(const ArrayView& values);

}  // namespace unrolled
