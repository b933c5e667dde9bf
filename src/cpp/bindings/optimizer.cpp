#include "api/optimizer.hpp"

#include <pybind11/stl.h>

#include "bindings/arrays.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

// Views of 1-D arrays: the api takes its size from the first.
ArrayView flat_view(const char* function, const char* name, const py::array& array) {
  ArrayView view = view_of(array);
  if (view.dimensions != 1)
    fail_value("[", function, "] expected ", name, " of shape (P,), got an array of ",
               view.dimensions, " dimensions");
  return view;
}

void adam_step(const py::array& params, const py::array& grads, const py::array& m,
               const py::array& v, double lr, double beta1, double beta2, double eps,
               double weight_decay, bool decoupled, int64_t step, double grad_scale,
               double clip_value) {
  const ArrayView values = flat_view("adam_step", "params", params);
  const ArrayView views[] = {view_of(grads), view_of(m), view_of(v)};
  const AdamOptions options{lr,           beta1, beta2,     eps,
                            weight_decay, step,  decoupled, {grad_scale, clip_value}};
  with_dtype("adam_step", "params", values, [&](auto zero) {
    py::gil_scoped_release release;
    run_adam<decltype(zero)>(values, views[0], views[1], views[2], options);
  });
}

void sgd_step(const py::array& params, const py::array& grads,
              const std::optional<py::array>& velocity, double lr, double momentum, bool nesterov,
              double weight_decay, double grad_scale, double clip_value) {
  const ArrayView values = flat_view("sgd_step", "params", params);
  const ArrayView views[] = {view_of(grads), view_of(velocity)};
  const SgdOptions options{lr, momentum, weight_decay, nesterov, {grad_scale, clip_value}};
  with_dtype("sgd_step", "params", values, [&](auto zero) {
    py::gil_scoped_release release;
    run_sgd<decltype(zero)>(values, views[0], views[1], options);
  });
}

void rmsprop_step(const py::array& params, const py::array& grads, const py::array& square,
                  const std::optional<py::array>& mean, const std::optional<py::array>& velocity,
                  double lr, double alpha, double eps, double momentum, double weight_decay,
                  double grad_scale, double clip_value) {
  const ArrayView values = flat_view("rmsprop_step", "params", params);
  const ArrayView views[] = {view_of(grads), view_of(square), view_of(mean), view_of(velocity)};
  const RmspropOptions options{lr, alpha, eps, momentum, weight_decay, {grad_scale, clip_value}};
  with_dtype("rmsprop_step", "params", values, [&](auto zero) {
    py::gil_scoped_release release;
    run_rmsprop<decltype(zero)>(values, views[0], views[1], views[2], views[3], options);
  });
}

void average_step(const py::array& params, const py::array& average, double weight) {
  const ArrayView values = flat_view("average_step", "params", params);
  const ArrayView mean = view_of(average);
  with_dtype("average_step", "params", values, [&](auto zero) {
    py::gil_scoped_release release;
    run_average<decltype(zero)>(values, mean, weight);
  });
}

void zero(const py::array& flat) {
  const ArrayView values = flat_view("zero", "flat", flat);
  with_dtype("zero", "flat", values, [&](auto zero) {
    py::gil_scoped_release release;
    run_zero<decltype(zero)>(values);
  });
}

double global_norm(const py::array& flat) {
  const ArrayView values = flat_view("global_norm", "flat", flat);
  return with_dtype("global_norm", "flat", values, [&](auto zero) {
    py::gil_scoped_release release;
    return run_norm<decltype(zero)>(values);
  });
}

}  // namespace

void register_optimizer(py::module_& m) {
  const auto in = [](const char* name) { return py::arg(name).noconvert(); };
  m.def("adam_step", &adam_step, in("params"), in("grads"), in("m"), in("v"), py::arg("lr"),
        py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
        py::arg("decoupled"), py::arg("step"), py::arg("grad_scale"), py::arg("clip_value"));
  m.def("sgd_step", &sgd_step, in("params"), in("grads"), in("velocity"), py::arg("lr"),
        py::arg("momentum"), py::arg("nesterov"), py::arg("weight_decay"), py::arg("grad_scale"),
        py::arg("clip_value"));
  m.def("rmsprop_step", &rmsprop_step, in("params"), in("grads"), in("square"), in("mean"),
        in("velocity"), py::arg("lr"), py::arg("alpha"), py::arg("eps"), py::arg("momentum"),
        py::arg("weight_decay"), py::arg("grad_scale"), py::arg("clip_value"));
  m.def("average_step", &average_step, in("params"), in("average"), py::arg("weight"));
  m.def("zero", &zero, in("flat"));
  m.def("global_norm", &global_norm, in("flat"));
}

}  // namespace unrolled
