#include "api/optimizer.hpp"

#include <cmath>
#include <cstring>

#include "api/optimizer_args.hpp"
#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// Runs a pass over `size` elements with as many threads as `cost` operations an element are worth.
template <class F>
void run_flat(double cost, int64_t size, F pass) {
  run_team(team_size(cost * static_cast<double>(size), 0, size / 1024), pass);
}

}  // namespace

template <class T>
void run_adam(const ArrayView& values, const ArrayView& grads, const ArrayView& first,
              const ArrayView& second, const AdamOptions& options) {
  const AdamArgs<T> args = adam_args<T>(values, grads, first, second, options);
  const auto kernel = kernels_of<T>(kernels()).adam;
  run_flat(30.0, args.size, [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_sgd(const ArrayView& values, const ArrayView& grads, const ArrayView& velocity,
             const SgdOptions& options) {
  const SgdArgs<T> args = sgd_args<T>(values, grads, velocity, options);
  const auto kernel = kernels_of<T>(kernels()).sgd;
  run_flat(15.0, args.size, [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_rmsprop(const ArrayView& values, const ArrayView& grads, const ArrayView& square,
                 const ArrayView& mean, const ArrayView& velocity, const RmspropOptions& options) {
  const RmspropArgs<T> args = rmsprop_args<T>(values, grads, square, mean, velocity, options);
  const auto kernel = kernels_of<T>(kernels()).rmsprop;
  run_flat(25.0, args.size, [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_average(const ArrayView& values, const ArrayView& average, double weight) {
  const int64_t size = values.shape[0];
  const T* from = flat<const T>("average_step", "params", values, size, Access::kRead);
  T* to = flat<T>("average_step", "average", average, size, Access::kWrite);
  const auto kernel = kernels_of<T>(kernels()).average;
  run_flat(10.0, size,
           [&](const Team& team) { kernel(from, to, size, static_cast<T>(weight), team); });
}

template <class T>
void run_zero(const ArrayView& values) {
  const int64_t size = values.shape[0];
  T* data = flat<T>("zero", "flat", values, size, Access::kWrite);
  run_flat(5.0, size, [&](const Team& team) {
    const int64_t begin = size * team.rank / team.size, end = size * (team.rank + 1) / team.size;
    std::memset(data + begin, 0, static_cast<size_t>(end - begin) * sizeof(T));
  });
}

template <class T>
double run_norm(const ArrayView& values) {
  const int64_t size = values.shape[0];
  const T* data = flat<const T>("global_norm", "flat", values, size, Access::kRead);
  const int64_t blocks = (size + kNormBlock - 1) / kNormBlock;
  Buffer<double> sums(blocks);
  const auto kernel = kernels_of<T>(kernels()).square_sums;
  run_team(team_size(5.0 * static_cast<double>(size), 0, blocks),
           [&](const Team& team) { kernel(data, size, sums.data(), team); });
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += sums.data()[block];
  return std::sqrt(total);
}

#define UNROLLED_INSTANTIATE(T)                                                            \
  template void run_adam<T>(const ArrayView&, const ArrayView&, const ArrayView&,          \
                            const ArrayView&, const AdamOptions&);                         \
  template void run_sgd<T>(const ArrayView&, const ArrayView&, const ArrayView&,           \
                           const SgdOptions&);                                             \
  template void run_rmsprop<T>(const ArrayView&, const ArrayView&, const ArrayView&,       \
                               const ArrayView&, const ArrayView&, const RmspropOptions&); \
  template void run_average<T>(const ArrayView&, const ArrayView&, double);                \
  template void run_zero<T>(const ArrayView&);                                             \
  template double run_norm<T>(const ArrayView&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
