#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>
#include <variant>

#include "api/conv.hpp"
#include "api/norm.hpp"
#include "api/pool.hpp"
#include "bindings/arrays.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

using Optional = std::optional<py::array>;
using Four = std::array<int64_t, 4>;  // down, right, top, left

WindowOptions windows_of(const Four& w) { return {w[0], w[1], w[2], w[3]}; }

Activation activation_of(const char* function, const std::string& name) {
  const char* const names[kActivations] = {"none", "relu", "relu6"};
  for (int i = 0; i < kActivations; ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  fail_value("[", function, "] expected activation to be one of none, relu, relu6, got ", name);
}

void conv2d(const py::array& x, const py::array& weight, const Optional& bias, const py::array& y,
            const Four& windows, int64_t groups, const std::string& activation) {
  const ArrayView views[] = {view_of(x), view_of(weight), view_of(bias), view_of(y)};
  const ConvOptions options{windows_of(windows), groups, activation_of("conv2d", activation)};
  with_dtype("conv2d", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_conv<decltype(zero)>(views[0], views[1], views[2], views[3], options);
  });
}

void conv2d_backward(const py::array& x, const py::array& weight, const py::array& y,
                     const py::array& dy, const Optional& dx, const py::array& dweight,
                     const Optional& dbias, const Four& windows, int64_t groups,
                     const std::string& activation) {
  const ArrayView views[] = {view_of(x),  view_of(weight),  view_of(y),    view_of(dy),
                             view_of(dx), view_of(dweight), view_of(dbias)};
  const ConvOptions options{windows_of(windows), groups,
                            activation_of("conv2d_backward", activation)};
  with_dtype("conv2d_backward", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_conv_backward<decltype(zero)>(views[0], views[1], views[2], views[3], views[4], views[5],
                                      views[6], options);
  });
}

class PyPackedConv {
 public:
  PyPackedConv(const py::array& weight, const Optional& bias, int64_t groups) {
    const ArrayView views[] = {view_of(weight), view_of(bias)};
    with_dtype("conv2d", "weight", views[0], [&](auto zero) {
      using T = decltype(zero);
      py::gil_scoped_release release;
      held_ = std::make_shared<const PackedConv<T>>(pack_conv<T>(views[0], views[1], groups));
    });
  }

  void apply(const py::array& x, const Optional& residual, const py::array& y, const Four& windows,
             const std::string& activation) const {
    const ArrayView views[] = {view_of(x), view_of(residual), view_of(y)};
    const Activation kind = activation_of("conv2d", activation);
    py::gil_scoped_release release;
    std::visit(
        [&](const auto& packed) {
          run_packed_conv(*packed, views[0], views[1], views[2], windows_of(windows), kind);
        },
        held_);
  }

 private:
  std::variant<std::shared_ptr<const PackedConv<float>>, std::shared_ptr<const PackedConv<double>>>
      held_;
};

void max_pool(const py::array& x, const py::array& y, const std::array<int64_t, 2>& kernel,
              const Four& windows) {
  const ArrayView views[] = {view_of(x), view_of(y)};
  with_dtype("max_pool", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_max_pool<decltype(zero)>(views[0], views[1], kernel[0], kernel[1], windows_of(windows));
  });
}

void max_pool_backward(const py::array& x, const py::array& y, const py::array& dy,
                       const py::array& dx, const std::array<int64_t, 2>& kernel,
                       const Four& windows) {
  const ArrayView views[] = {view_of(x), view_of(y), view_of(dy), view_of(dx)};
  with_dtype("max_pool_backward", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_max_pool_backward<decltype(zero)>(views[0], views[1], views[2], views[3], kernel[0],
                                          kernel[1], windows_of(windows));
  });
}

void moments(const py::array& x, const py::array& mean, const py::array& variance) {
  const ArrayView views[] = {view_of(x), view_of(mean), view_of(variance)};
  with_dtype("moments", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_moments<decltype(zero)>(views[0], views[1], views[2]);
  });
}

void normalise(const py::array& x, const py::array& mean, const py::array& scale,
               const py::array& bias, const py::array& y, const std::string& activation) {
  const ArrayView views[] = {view_of(x), view_of(mean), view_of(scale), view_of(bias), view_of(y)};
  const Activation kind = activation_of("normalise", activation);
  with_dtype("normalise", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_normalise<decltype(zero)>(views[0], views[1], views[2], views[3], views[4], kind);
  });
}

void normalise_backward(const py::array& x, const py::array& mean, const py::array& scale,
                        const py::array& inverse, const py::array& y, const py::array& dy,
                        const py::array& dweight, const py::array& dbias, const Optional& dx,
                        const std::string& activation, bool of_batch) {
  const ArrayView views[] = {view_of(x),       view_of(mean),  view_of(scale),
                             view_of(inverse), view_of(y),     view_of(dy),
                             view_of(dweight), view_of(dbias), view_of(dx)};
  const Activation kind = activation_of("normalise_backward", activation);
  with_dtype("normalise_backward", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_normalise_backward<decltype(zero)>(views[0], views[1], views[2], views[3], views[4],
                                           views[5], views[6], views[7], views[8], kind, of_batch);
  });
}

}  // namespace

void register_images(py::module_& m) {
  const auto in = [](const char* name) { return py::arg(name).noconvert(); };
  py::class_<PyPackedConv>(m, "PackedConv", "A weight and a bias, packed for the kernels.")
      .def(py::init<const py::array&, const Optional&, int64_t>(), in("weight"), in("bias"),
           py::arg("groups"))
      .def("apply", &PyPackedConv::apply, in("x"), in("residual"), in("y"), py::arg("windows"),
           py::arg("activation"));
  m.def("conv2d", &conv2d, in("x"), in("weight"), in("bias"), in("y"), py::arg("windows"),
        py::arg("groups"), py::arg("activation"));
  m.def("conv2d_backward", &conv2d_backward, in("x"), in("weight"), in("y"), in("dy"), in("dx"),
        in("dweight"), in("dbias"), py::arg("windows"), py::arg("groups"), py::arg("activation"));
  m.def("max_pool", &max_pool, in("x"), in("y"), py::arg("kernel"), py::arg("windows"));
  m.def("max_pool_backward", &max_pool_backward, in("x"), in("y"), in("dy"), in("dx"),
        py::arg("kernel"), py::arg("windows"));
  m.def("moments", &moments, in("x"), in("mean"), in("variance"));
  m.def("normalise", &normalise, in("x"), in("mean"), in("scale"), in("bias"), in("y"),
        py::arg("activation"));
  m.def("normalise_backward", &normalise_backward, in("x"), in("mean"), in("scale"), in("inverse"),
        in("y"), in("dy"), in("dweight"), in("dbias"), in("dx"), py::arg("activation"),
        py::arg("of_batch"));
}

}  // namespace unrolled
