// Fused optimizer steps and the norm over flat 1-D buffers.
#pragma once

#include "api/array.hpp"

namespace unrolled {

struct AdamOptions {
  double learning_rate, beta1, beta2, epsilon, weight_decay, grad_scale;
  int64_t step;  // from 1
  bool decoupled;
};

template <class T>
void run_adam(const ArrayView& values, const ArrayView& grads, const ArrayView& first,
              const ArrayView& second, const AdamOptions& options);

struct SgdOptions {
  double learning_rate, momentum, weight_decay, grad_scale;
  bool nesterov;
};

// `velocity` may be absent when momentum is 0.
template <class T>
void run_sgd(const ArrayView& values, const ArrayView& grads, const ArrayView& velocity,
             const SgdOptions& options);

// Sets every element to zero.
template <class T>
void run_zero(const ArrayView& values);

// sqrt(sum of squares), summed in double in an order that does not depend on threads.
template <class T>
double run_norm(const ArrayView& values);

}  // namespace unrolled
