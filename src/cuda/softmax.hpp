// The cross-entropy of rows of logits and its gradient, with a block of threads per row.
#pragma once

#include "cuda/block.hpp"

namespace unrolled::cuda {

template <class E>
struct SoftmaxRows {
  int64_t V;
  const float* logits;     // (rows, V)
  const int64_t* targets;  // (rows,)
  float* losses;           // (rows,)
  E* gradients;            // (rows, V), may be the logits; null: not wanted
  float scale, smoothing;
};

// -log softmax(logits)[target] in nats, or with smoothing s the cross-entropy with p = (1 - s)
// onehot(target) + s / V; its gradient is scale * (softmax - p). A row with a negative target
// counts for nothing.
template <class E>
__global__ void softmax_rows(SoftmaxRows<E> a) {
  UNROLLED_SHARED(shared);
  const int64_t row = blockIdx.x, target = a.targets[row], begin = row * a.V;
  const float* logits = a.logits + begin;
  E* gradients = a.gradients == nullptr ? nullptr : a.gradients + begin;
  if (target < 0) {
    if (threadIdx.x == 0) a.losses[row] = 0.0f;
    if (gradients != nullptr)
      for (int64_t v = threadIdx.x; v < a.V; v += kBlockThreads) gradients[v] = rounded<E>(0.0f);
    return;
  }
  float top = -INFINITY, sum = 0.0f, total = 0.0f;
  for (int64_t v = threadIdx.x; v < a.V; v += kBlockThreads) top = max(top, logits[v]);
  top = combine_block(shared, top, Largest{});
  for (int64_t v = threadIdx.x; v < a.V; v += kBlockThreads) {
    sum += exp(logits[v] - top);  // a NaN, which `top` does not show, stays in the sum
    total += logits[v];
  }
  sum = combine_block(shared, sum, Sum{});
  float expected = logits[target];
  if (a.smoothing > 0.0f) {
    const float mean = combine_block(shared, total, Sum{}) / static_cast<float>(a.V);
    expected += a.smoothing * (mean - expected);
  }
  if (threadIdx.x == 0) a.losses[row] = ::logf(sum) + (top - expected);
  if (gradients == nullptr) return;
  __syncthreads();  // logits[target] has been read by all before it is written over
  const float factor = a.scale / sum, shared_part = a.scale * a.smoothing / static_cast<float>(a.V);
  for (int64_t v = threadIdx.x; v < a.V; v += kBlockThreads) {
    float gradient = multiply_add(exp(logits[v] - top), factor, -shared_part);
    if (v == target) gradient -= a.scale * (1.0f - a.smoothing);
    gradients[v] = rounded<E>(gradient);
  }
}

}  // namespace unrolled::cuda
