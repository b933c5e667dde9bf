// Views and options of a step of an optimizer, checked, as its kernel reads them.
#pragma once

#include <cmath>

#include "api/optimizer.hpp"

namespace unrolled {

template <class T>
T* flat(const char* function, const char* name, const ArrayView& view, int64_t size,
        Access access) {
  return contiguous<T>({function, name, "(P,)", {size}}, view, access);
}

template <class T>
GradientArgs<T> gradient_args(const char* function, const ArrayView& grads, int64_t size,
                              const GradientOptions& options) {
  if (!(options.limit > 0.0))
    fail_value("[", function, "] expected clip_value > 0, got ", options.limit);
  return {.grads = flat<const T>(function, "grads", grads, size, Access::kRead),
          .scale = static_cast<T>(options.scale),
          .limit = static_cast<T>(options.limit)};
}

inline void check_velocity(const char* function, const void* velocity, double momentum) {
  if (velocity == nullptr && momentum != 0.0)
    fail_value("[", function, "] expected velocity for momentum != 0, got None");
}

template <class T>
AdamArgs<T> adam_args(const ArrayView& values, const ArrayView& grads, const ArrayView& first,
                      const ArrayView& second, const AdamOptions& options) {
  if (options.step < 1) fail_value("[adam_step] expected step >= 1, got ", options.step);
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const double steps = static_cast<double>(options.step);
  return {.size = size,
          .values = flat<T>("adam_step", "params", values, size, Access::kWrite),
          .gradient = gradient_args<T>("adam_step", grads, size, options.gradient),
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
}

template <class T>
SgdArgs<T> sgd_args(const ArrayView& values, const ArrayView& grads, const ArrayView& velocity,
                    const SgdOptions& options) {
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const SgdArgs<T> args{.size = size,
                        .values = flat<T>("sgd_step", "params", values, size, Access::kWrite),
                        .gradient = gradient_args<T>("sgd_step", grads, size, options.gradient),
                        .velocity = flat<T>("sgd_step", "velocity", velocity, size, Access::kWrite),
                        .learning_rate = value(options.learning_rate),
                        .momentum = value(options.momentum),
                        .weight_decay = value(options.weight_decay),
                        .nesterov = options.nesterov};
  check_velocity("sgd_step", args.velocity, options.momentum);
  return args;
}

template <class T>
RmspropArgs<T> rmsprop_args(const ArrayView& values, const ArrayView& grads,
                            const ArrayView& square, const ArrayView& mean,
                            const ArrayView& velocity, const RmspropOptions& options) {
  const char* const where = "rmsprop_step";
  const int64_t size = values.shape[0];
  const auto value = [](double x) { return static_cast<T>(x); };
  const RmspropArgs<T> args{.size = size,
                            .values = flat<T>(where, "params", values, size, Access::kWrite),
                            .gradient = gradient_args<T>(where, grads, size, options.gradient),
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
  return args;
}

}  // namespace unrolled
