// The functions of optimizer.hpp: the arithmetic of kernels/elementwise.hpp, an element a thread.
#include "cuda/flat.hpp"
#include "cuda/optimizer.hpp"

namespace unrolled::cuda {
namespace {

__device__ float gradient_at(const GradientArgs<float>& a, int64_t i) {
  return max(min(a.grads[i] * a.scale, a.limit), -a.limit);
}

__global__ void adam_elements(AdamArgs<float> a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  float value = a.values[i], g = gradient_at(a.gradient, i);
  if (a.decoupled)
    value = value - a.learning_rate * a.weight_decay * value;
  else
    g = multiply_add(a.weight_decay, value, g);
  const float m = multiply_add(a.beta1, a.first[i], a.fresh1 * g);
  const float v = multiply_add(a.beta2, a.second[i], a.fresh2 * g * g);
  a.first[i] = m;
  a.second[i] = v;
  const float spread = ::sqrtf(v / a.second_correction) + a.epsilon;
  a.values[i] = value - a.learning_rate / a.first_correction * m / spread;
}

__global__ void sgd_elements(SgdArgs<float> a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  const float value = a.values[i];
  float g = multiply_add(a.weight_decay, value, gradient_at(a.gradient, i));
  if (a.velocity != nullptr) {
    const float v = a.velocity[i] = multiply_add(a.momentum, a.velocity[i], g);
    g = a.nesterov ? multiply_add(a.momentum, v, g) : v;
  }
  a.values[i] = value - a.learning_rate * g;
}

__global__ void rmsprop_elements(RmspropArgs<float> a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  const float value = a.values[i];
  const float g = multiply_add(a.weight_decay, value, gradient_at(a.gradient, i));
  float variance = a.square[i] = multiply_add(a.alpha, a.square[i], a.fresh * g * g);
  if (a.mean != nullptr) {
    const float mean = a.mean[i] = multiply_add(a.alpha, a.mean[i], a.fresh * g);
    variance = max(variance - mean * mean, 0.0f);  // rounding can leave it below zero
  }
  float step = g / (::sqrtf(variance) + a.epsilon);
  if (a.velocity != nullptr) step = a.velocity[i] = multiply_add(a.momentum, a.velocity[i], step);
  a.values[i] = value - a.learning_rate * step;
}

__global__ void average_elements(AverageArgs a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  a.average[i] = multiply_add(a.weight, a.values[i] - a.average[i], a.average[i]);
}

__global__ void square_sum_blocks(SquareSums a) {
  UNROLLED_SHARED(shared);
  auto* sums = reinterpret_cast<double*>(shared);  // [kFlatThreads]
  const int64_t begin = blockIdx.x * kSquareBlock, end = smaller(begin + kSquareBlock, a.size);
  double sum = 0.0;  // a float has no room for the square of 1e20
  for (int64_t i = begin + threadIdx.x; i < end; i += kFlatThreads)
    sum += static_cast<double>(a.values[i]) * static_cast<double>(a.values[i]);
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int thread = 1; thread < kFlatThreads; ++thread) sum += sums[thread];
  a.sums[blockIdx.x] = sum;
}

}  // namespace

void adam(const AdamArgs<float>& a, Device& device) {
  launch_flat(adam_elements, a, a.size, device);
}
void sgd(const SgdArgs<float>& a, Device& device) { launch_flat(sgd_elements, a, a.size, device); }
void rmsprop(const RmspropArgs<float>& a, Device& device) {
  launch_flat(rmsprop_elements, a, a.size, device);
}
void average(const AverageArgs& a, Device& device) {
  launch_flat(average_elements, a, a.size, device);
}

void square_sums(const SquareSums& a, Device& device) {
  launch(square_sum_blocks, a, ceil_div(a.size, kSquareBlock), kFlatThreads,
         kFlatThreads * sizeof(double), device.stream);
}

}  // namespace unrolled::cuda
