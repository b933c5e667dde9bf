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

template <class T>
GradientArgs<T> gradient(const char* function, const ArrayView& grads, int64_t size,
                         const GradientOptions& options) {
  if (!(options.limit > 0.0))
    fail_value("[", function, "] expected clip_value > 0, got ", options.limit);
  return {.grads = flat<const T>(function, "grads", grads, size, Access::kRead),
          .scale = static_cast<T>(options.scale),
          .limit = static_cast<T>(options.limit)};
}

void check_velocity(const char* function, const void* velocity, double momentum) {
  if (velocity == nullptr && momentum != 0.0)
    fail_value("[", function, "] expected velocity for momentum != 0, got None");
}

// Runs a pass over `size` elements with as many threads as `cost` operations an element are worth.
template <class F>
void run_flat(double cost, int64_t size, F pass) {
  run_team(team_size(cost * static_cast<double>(size), 0, size / 1024), pass);
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
                         .gradient = gradient<T>("adam_step", grads, size, options.gradient),
                         .first = flat<T>("adam_step", "m", first, size, Access::kWrite),
                         .second = flat<T>("adam_step", "v", second, size, Access::kWrite),
                         .learning_rate = value(options.learning_rate),
                         .beta1 = value(options.beta1),
                         .beta2 = value(options.beta2),
                         .epsilon = value(options.epsilon),
                         .weight_decay = value(options.weight_decay),
                         .fresh1 = value(1.0 - options.beta1),
                         .fresh2 = value(1.0 - options.beta2),
                         .first_correction = value(1.0 - std::pow(options.beta1, steps)),
                         .second_correction = value(1.0 - std::pow(options.beta2, steps)),
                         .decoupled = options.decoupled};
  const auto kernel = kernels_of<T>(kernels()).adam;
  run_flat(30.0, size, [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_sgd(const ArrayView& values, const ArrayView& grads, const ArrayView& velocity,
             const SgdOptions& options) {
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const SgdArgs<T> args{.size = size,
                        .values = flat<T>("sgd_step", "params", values, size, Access::kWrite),
                        .gradient = gradient<T>("sgd_step", grads, size, options.gradient),
                        .velocity = flat<T>("sgd_step", "velocity", velocity, size, Access::kWrite),
                        .learning_rate = value(options.learning_rate),
                        .momentum = value(options.momentum),
                        .weight_decay = value(options.weight_decay),
                        .nesterov = options.nesterov};
  check_velocity("sgd_step", args.velocity, options.momentum);
  const auto kernel = kernels_of<T>(kernels()).sgd;
  run_flat(15.0, size, [&](const Team& team) { kernel(args, team); });
}

template <class T>
void run_rmsprop(const ArrayView& values, const ArrayView& grads, const ArrayView& square,
                 const ArrayView& mean, const ArrayView& velocity, const RmspropOptions& options) {
  const char* const where = "rmsprop_step";
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const RmspropArgs<T> args{.size = size,
                            .values = flat<T>(where, "params", values, size, Access::kWrite),
                            .gradient = gradient<T>(where, grads, size, options.gradient),
                            .square = flat<T>(where, "square", square, size, Access::kWrite),
                            .mean = flat<T>(where, "mean", mean, size, Access::kWrite),
                            .velocity = flat<T>(where, "velocity", velocity, size, Access::kWrite),
                            .learning_rate = value(options.learning_rate),
                            .alpha = value(options.alpha),
                            .fresh = value(1.0 - options.alpha),
                            .epsilon = value(options.epsilon),
                            .momentum = value(options.momentum),
                            .weight_decay = value(options.weight_decay)};
  check_velocity(where, args.velocity, options.momentum);
  const auto kernel = kernels_of<T>(kernels()).rmsprop;
  run_flat(25.0, size, [&](const Team& team) { kernel(args, team); });
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
