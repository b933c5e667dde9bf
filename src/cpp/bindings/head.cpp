#include "api/head.hpp"

#include <pybind11/stl.h>

#include <memory>
#include <variant>

#include "bindings/arrays.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

using Optional = std::optional<py::array>;

void linear(const py::array& x, const py::array& weight, const Optional& bias, const py::array& y) {
  const ArrayView views[] = {view_of(x), view_of(weight), view_of(bias), view_of(y)};
  with_dtype("linear", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_linear<decltype(zero)>(views[0], views[1], views[2], views[3]);
  });
}

// A weight and a bias, packed once for many products.
class PyPackedLinear {
 public:
  PyPackedLinear(const py::array& weight, const Optional& bias) {
    const ArrayView views[] = {view_of(weight), view_of(bias)};
    with_dtype("linear", "weight", views[0], [&](auto zero) {
      using T = decltype(zero);
      py::gil_scoped_release release;
      held_ = std::make_shared<const PackedLinear<T>>(pack_linear<T>(views[0], views[1]));
    });
  }

  void apply(const py::array& x, const py::array& y) const {
    const ArrayView views[] = {view_of(x), view_of(y)};
    py::gil_scoped_release release;
    std::visit([&](const auto& packed) { run_packed_linear(*packed, views[0], views[1]); }, held_);
  }

 private:
  std::variant<std::shared_ptr<const PackedLinear<float>>,
               std::shared_ptr<const PackedLinear<double>>>
      held_;
};

void linear_backward(const py::array& x, const py::array& weight, const py::array& dy,
                     const Optional& dx, const py::array& dweight, const Optional& dbias) {
  const ArrayView views[] = {view_of(x),  view_of(weight),  view_of(dy),
                             view_of(dx), view_of(dweight), view_of(dbias)};
  with_dtype("linear_backward", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_linear_backward<decltype(zero)>(views[0], views[1], views[2], views[3], views[4], views[5]);
  });
}

void cross_entropy(const py::array& x, const py::array& weight, const Optional& bias,
                   const py::array& targets, const py::array& losses, double scale,
                   double smoothing, const Optional& dx, const Optional& dweight,
                   const Optional& dbias, const std::string& precision) {
  const ArrayView views[] = {view_of(x), view_of(weight), view_of(bias), view_of(targets),
                             view_of(losses)};
  const CrossEntropyGradients gradients{view_of(dx), view_of(dweight), view_of(dbias)};
  with_dtype("linear_cross_entropy", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_cross_entropy<decltype(zero)>(views[0], views[1], views[2], views[3], views[4], scale,
                                      smoothing, gradients, precision);
  });
}

void embedding(const py::array& indices, const py::array& weight, const py::array& out) {
  const ArrayView views[] = {view_of(indices), view_of(weight), view_of(out)};
  with_dtype("embedding", "weight", views[1], [&](auto zero) {
    py::gil_scoped_release release;
    run_embedding<decltype(zero)>(views[0], views[1], views[2]);
  });
}

void embedding_backward(const py::array& indices, const py::array& dy, const py::array& dweight) {
  const ArrayView views[] = {view_of(indices), view_of(dy), view_of(dweight)};
  with_dtype("embedding_backward", "dy", views[1], [&](auto zero) {
    py::gil_scoped_release release;
    run_embedding_backward<decltype(zero)>(views[0], views[1], views[2]);
  });
}

void dropout(const py::array& x, const py::array& out, double p, uint64_t seed, uint64_t offset) {
  const ArrayView views[] = {view_of(x), view_of(out)};
  with_dtype("dropout", "x", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_dropout<decltype(zero)>(views[0], views[1], p, seed, offset);
  });
}

void sample(const py::array& logits, const py::array& u, double temperature, int64_t top_k,
            double top_p, const py::array& out) {
  const ArrayView views[] = {view_of(logits), view_of(u), view_of(out)};
  with_dtype("sample", "logits", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_sample<decltype(zero)>(views[0], views[1], {temperature, top_k, top_p}, views[2]);
  });
}

}  // namespace

void register_head(py::module_& m) {
  const auto in = [](const char* name) { return py::arg(name).noconvert(); };
  py::class_<PyPackedLinear>(m, "PackedLinear", "A weight and a bias, packed for the kernels.")
      .def(py::init<const py::array&, const Optional&>(), py::arg("weight").noconvert(),
           py::arg("bias").noconvert())
      .def("apply", &PyPackedLinear::apply, py::arg("x").noconvert(), py::arg("y").noconvert());
  m.def("linear", &linear, in("x"), in("weight"), in("bias"), in("y"));
  m.def("linear_backward", &linear_backward, in("x"), in("weight"), in("dy"), in("dx"),
        in("dweight"), in("dbias"));
  m.def("cross_entropy", &cross_entropy, in("x"), in("weight"), in("bias"), in("targets"),
        in("losses"), py::arg("scale"), py::arg("smoothing"), in("dx"), in("dweight"), in("dbias"),
        py::arg("precision"));
  m.def("embedding", &embedding, in("indices"), in("weight"), in("out"));
  m.def("embedding_backward", &embedding_backward, in("indices"), in("dy"), in("dweight"));
  m.def("dropout", &dropout, in("x"), in("out"), py::arg("p"), py::arg("seed"), py::arg("offset"));
  m.def("sample", &sample, in("logits"), in("u"), py::arg("temperature"), py::arg("top_k"),
        py::arg("top_p"), in("out"));
}

}  // namespace unrolled
