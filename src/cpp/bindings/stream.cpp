#include "api/stream.hpp"

#include <pybind11/stl.h>

#include "bindings/layers.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

class PyStream {
 public:
  PyStream(const std::vector<PyWeights>& weights, std::vector<std::vector<py::array>> states,
           const std::vector<double>& updates, double cell_clip)
      : states_(std::move(states)) {
    std::vector<std::vector<ArrayView>> views;
    for (const auto& of_layer : states_) views.push_back(views_of(of_layer));
    if (weights.empty()) fail_value("[stream] expected at least one layer");
    std::visit(
        [&]<class T>(const std::shared_ptr<const Weights<T>>&) {
          open<T>(weights, views, updates, cell_clip);
        },
        weights[0].held);
  }

  void step(const py::array& x, const py::array& y) {
    const ArrayView x_view = view_of(x), y_view = view_of(y);
    py::gil_scoped_release release;
    std::visit([&](const auto& stream) { stream->step(x_view, y_view); }, held_);
  }

 private:
  template <class T>
  void open(const std::vector<PyWeights>& weights,
            const std::vector<std::vector<ArrayView>>& states, const std::vector<double>& updates,
            double cell_clip) {
    std::vector<std::shared_ptr<const Weights<T>>> same;
    for (const PyWeights& w : weights) {
      if (!std::holds_alternative<std::shared_ptr<const Weights<T>>>(w.held))
        fail_value("[stream] expected weights of one dtype");
      same.push_back(std::get<std::shared_ptr<const Weights<T>>>(w.held));
    }
    held_ = std::make_unique<StackStream<T>>(std::move(same), states, updates, cell_clip);
  }

  std::vector<std::vector<py::array>> states_;  // kept alive for the kernels
  std::variant<std::unique_ptr<StackStream<float>>, std::unique_ptr<StackStream<double>>> held_;
};

}  // namespace

void register_stream(py::module_& m) {
  py::class_<PyStream>(m, "Stream", "A stack of layers one step at a time.")
      .def(py::init<const std::vector<PyWeights>&, std::vector<std::vector<py::array>>,
                    const std::vector<double>&, double>(),
           py::arg("weights"), py::arg("states"), py::arg("updates"), py::arg("cell_clip"))
      .def("step", &PyStream::step, py::arg("x").noconvert(), py::arg("y").noconvert());
}

}  // namespace unrolled
