#include "api/optimizer.hpp"

#include <cmath>
#include <cstring>

#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

template <class T>
T* flat(const char* function, const char* name, const ArrayView& view, int64_t size,
        Access access) {
  return contiguous<T>({function, name, "(P,)", {size}}, view, access);
}

}  // namespace

template <class T>
void run_adam(const ArrayView& values, const ArrayView& grads, const ArrayView& first,
              const ArrayView& second, const AdamOptions& options) {
  if (options.step < 1) fail_value("[adam_step] expected step >= 1, got ", options.step);
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const double steps = static_cast<double>(options.step);
  const AdamArgs<T> args{.size = size,
                         .values = flat<T>("adam_step", "params", values, size, Access::kWrite),
                         .grads = flat<const T>("adam_step", "grads", grads, size, Access::kRead),
                         .first = flat<T>("adam_step", "m", first, size, Access::kWrite),
                         .second = flat<T>("adam_step", "v", second, size, Access::kWrite),
                         .learning_rate = value(options.learning_rate),
                         .beta1 = value(options.beta1),
                         .beta2 = value(options.beta2),
                         .epsilon = value(options.epsilon),
                         .weight_decay = value(options.weight_decay),
                         .grad_scale = value(options.grad_scale),
                         .fresh1 = value(1.0 - options.beta1),
                         .fresh2 = value(1.0 - options.beta2),
                         .first_correction = value(1.0 - std::pow(options.beta1, steps)),
                         .second_correction = value(1.0 - std::pow(options.beta2, steps)),
                         .decoupled = options.decoupled};
  const auto kernel = kernels_of<T>(kernels()).adam;
  run_team(team_size(30.0 * static_cast<double>(size), 0, size / 1024),
           [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_sgd(const ArrayView& values, const ArrayView& grads, const ArrayView& velocity,
             const SgdOptions& options) {
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const SgdArgs<T> args{.size = size,
                        .values = flat<T>("sgd_step", "params", values, size, Access::kWrite),
                        .grads = flat<const T>("sgd_step", "grads", grads, size, Access::kRead),
                        .velocity = flat<T>("sgd_step", "velocity", velocity, size, Access::kWrite),
                        .learning_rate = value(options.learning_rate),
                        .momentum = value(options.momentum),
                        .weight_decay = value(options.weight_decay),
                        .grad_scale = value(options.grad_scale),
                        .nesterov = options.nesterov};
  if (args.velocity == nullptr && options.momentum != 0.0)
    fail_value("[sgd_step] expected velocity for momentum != 0, got None");
  const auto kernel = kernels_of<T>(kernels()).sgd;
  run_team(team_size(15.0 * static_cast<double>(size), 0, size / 1024),
           [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_zero(const ArrayView& values) {
  const int64_t size = values.shape[0];
  T* data = flat<T>("zero", "flat", values, size, Access::kWrite);
  run_team(team_size(5.0 * static_cast<double>(size), 0, size / 1024), [&](const Team& team) {
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

#define UNROLLED_INSTANTIATE(T)                                                   \
  template void run_adam<T>(const ArrayView&, const ArrayView&, const ArrayView&, \
                            const ArrayView&, const AdamOptions&);                \
  template void run_sgd<T>(const ArrayView&, const ArrayView&, const ArrayView&,  \
                           const SgdOptions&);                                    \
  template void run_zero<T>(const ArrayView&);                                    \
  template double run_norm<T>(const ArrayView&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
