// Everything that differs between CUDA and the emulation of tests/cuda: how a kernel is declared
// and launched, and how its threads meet. Kernels use CUDA's own names (threadIdx, __syncthreads,
// ...), which the emulation provides, and what is declared here.
//
//   UNROLLED_SHARED(name)  declares the block's dynamic shared memory: floats, as many as launched
//   launch(...)            puts a kernel with one struct as its argument on a stream
//   arrive(p), peek(p)     add one to a counter in global memory, and read it: who sees the one
//                          sees all that was written before it
#pragma once

#include <cstdint>

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#define UNROLLED_SHARED(name) extern __shared__ float name[]

namespace unrolled::cuda {

__device__ inline void arrive(unsigned* counter) {
  asm volatile("red.release.gpu.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

__device__ inline unsigned peek(const unsigned* counter) {
  unsigned value;
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
  return value;
}

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("[cuda] ") + what + ": " + cudaGetErrorString(error));
}

// `together`: all blocks run at the same time, so that they may wait for each other.
template <class Args>
void launch(void (*kernel)(Args), const Args& args, int64_t blocks, int threads,
            int64_t shared_bytes, void* stream, bool together = false) {
  if (blocks == 0) return;
  const void* function = reinterpret_cast<const void*>(kernel);
  constexpr int64_t kAlwaysGranted = 48 * 1024;
  if (shared_bytes > kAlwaysGranted)
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          "shared memory of a kernel");
  void* list[] = {const_cast<Args*>(&args)};
  const dim3 grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(threads));
  const auto bytes = static_cast<size_t>(shared_bytes);
  const auto queue = static_cast<cudaStream_t>(stream);
  check(together ? cudaLaunchCooperativeKernel(function, grid, block, list, bytes, queue)
                 : cudaLaunchKernel(function, grid, block, list, bytes, queue),
        "launch of a kernel");
}

}  // namespace unrolled::cuda

#else

#include "cuda/emulation.hpp"

#endif
