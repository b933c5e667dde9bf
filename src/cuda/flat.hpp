// Kernels over elements that do not see each other: a thread each.
#pragma once

#include <type_traits>

#include "cuda/step_kernels.hpp"

namespace unrolled::cuda {

inline constexpr int kFlatThreads = 256;

// The element of this thread; the last block has threads without one.
__device__ inline int64_t own_element() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <class Args>
void launch_flat(void (*kernel)(Args), const std::type_identity_t<Args>& args, int64_t size,
                 Device& device) {
  launch(kernel, args, ceil_div(size, kFlatThreads), kFlatThreads, 0, device.stream);
}

}  // namespace unrolled::cuda
