#include "api/system.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

using Clock = std::chrono::steady_clock;

// Runs `work(rank)` on `size` threads, at least 2 ms a time, and returns the best of many rates:
// short enough to fall between what other programs do on the machine. `work` returns the amount
// done by that thread.
template <class F>
double best_rate(int size, F&& work) {
  std::vector<double> amounts(static_cast<size_t>(size));
  double best = 0;
  int repeats = 1;
  for (int round = 0; round < 60; ++round) {
    for (;;) {
      const auto start = Clock::now();
      run_team(size, [&](const Team& team) {
        double amount = 0;
        for (int i = 0; i < repeats; ++i) amount += work(team.rank);
        amounts[static_cast<size_t>(team.rank)] = amount;
      });
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (seconds >= 0.002 || repeats > (1 << 28)) {
        double total = 0;
        for (const double amount : amounts) total += amount;
        best = std::max(best, total / seconds);
        break;
      }
      repeats *= 2;
    }
  }
  return best;
}

}  // namespace

template <class T>
double measure_fma_peak() {
  const auto kernel = kernels_of<T>(kernels()).run_fma;
  return best_rate(num_threads(), [kernel](int) { return kernel(1 << 12); });
}

double measure_bandwidth(int64_t bytes) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (bytes < 4096 || bytes > kMost)
    fail_value("[measure_bandwidth] expected 4096 .. ", kMost, " bytes, got ", bytes);
  const int64_t count = bytes / 512 * 128;  // whole turns of the kernel's loop
  const int64_t stride = padded_stride<float>(count);
  const int size = num_threads();  // once: it may change meanwhile
  Buffer<float> memory(stride * size);
  std::fill(memory.data(), memory.data() + memory.size(), 1.0f);
  const auto kernel = kernels_of<float>(kernels()).sum_all;
  std::vector<float> sinks(static_cast<size_t>(size));
  return best_rate(size, [&](int rank) {
    sinks[static_cast<size_t>(rank)] = kernel(memory.data() + rank * stride, count);
    return static_cast<double>(count) * sizeof(float);
  });
}

template <class T>
void run_math(MathFunction function, const ArrayView& x, const ArrayView& y) {
  const int64_t size = x.shape[0];
  const T* from = contiguous<const T>({"apply_math", "x", "(N,)", {size}}, x, Access::kRead);
  T* to = contiguous<T>({"apply_math", "y", "(N,)", {size}}, y, Access::kWrite);
  kernels_of<T>(kernels()).apply_math(function, from, to, size);
}

template double measure_fma_peak<float>();
template double measure_fma_peak<double>();
template void run_math<float>(MathFunction, const ArrayView&, const ArrayView&);
template void run_math<double>(MathFunction, const ArrayView&, const ArrayView&);

}  // namespace unrolled
