// CUDA on a CPU, for tests: what src/cuda/device.hpp promises, and the names of CUDA that kernels
// use. Every CUDA thread is a fiber with a stack of its own. A fiber runs until it has to wait, and
// which one runs next is drawn, so that a barrier that is missing lets a thread run ahead of what
// it needs. Blocks that may wait for each other run all at once, others one after the other in a
// drawn order. Shared memory begins as NaN and has exactly the size of the launch.
//
// Not emulated: the caches. A store is seen by all at once, so that a missing fence is not found.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define UNROLLED_SHARED(name) float* const name = emulation::shared_memory()

// What objects that are loaded later share with this one.
namespace emulation __attribute__((visibility("default"))) {

  struct Index {
    unsigned x;
  };

  // Where the running thread stands.
  extern Index thread_index, block_index, block_size, grid_size;

  // Which barriers work: a test that leaves some out has to fail.
  enum class Barriers { kAll, kNotOfBlocks, kNotOfGrids };
  extern Barriers barriers;

  // From here on the order of threads is that of this seed.
  void seed(unsigned value);
  float* shared_memory();
  void run(const std::function<void()>& thread, int64_t blocks, int threads, int64_t shared_bytes,
           bool together);

  // Work on a stream is done at once, or kept where a CUDA graph is made of it.
  inline std::vector<std::function<void()>>* recording = nullptr;
  inline void enqueue(std::function<void()> work) {
    if (recording != nullptr)
      recording->push_back(std::move(work));
    else
      work();
  }

  // Lets others run, now and then or always.
  void maybe_yield();
  void spin();

  void meet_block();
  float exchange(float value, int from_lane);

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

inline void __syncthreads() { emulation::meet_block(); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  return emulation::exchange(value, static_cast<int>(threadIdx.x % 32) ^ mask);
}

namespace unrolled::cuda {

inline void arrive(unsigned* counter) {
  emulation::maybe_yield();
  ++*counter;
}

inline unsigned peek(const unsigned* counter) {
  emulation::spin();
  const bool pass = emulation::barriers == emulation::Barriers::kNotOfGrids;
  return pass ? *counter + (1u << 30) : *counter;
}

template <class Args>
void launch(void (*kernel)(Args), const Args& args, int64_t blocks, int threads,
            int64_t shared_bytes, void*, bool together = false) {
  emulation::enqueue(
      [=] { emulation::run([&] { kernel(args); }, blocks, threads, shared_bytes, together); });
}

}  // namespace unrolled::cuda
