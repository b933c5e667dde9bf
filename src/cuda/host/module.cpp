// The module _cuda. Private: unrolled.cuda is its only importer.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "cuda/host/ensure.hpp"
#include "cuda/host/head.hpp"
#include "cuda/host/load_cell.hpp"
#include "cuda/host/models.hpp"
#include "cuda/host/one_of.hpp"
#include "cuda/host/optimizer.hpp"
#include "cuda/host/scan.hpp"

namespace unrolled::cuda {
namespace {

// Arguments are owned by Python for the time of a call.
using Arrays = std::vector<const DeviceArray*>;

int device_count() {
  int count = 0;
  ensure(cudaGetDeviceCount(&count), "a CUDA device with NVIDIA's driver");
  return count;
}

std::vector<int64_t> of_array(const DeviceArray& array, const int64_t (ArrayView::*member)[4]) {
  const auto& values = array.view().*member;
  return {values, values + array.view().dimensions};
}

void register_array(py::module_& m) {
  py::class_<DeviceArray>(m, "Array", py::module_local(), "A view of an array on a device.")
      .def(py::init<std::string, std::string, py::object, uintptr_t>(), py::arg("where"),
           py::arg("name"), py::arg("array"), py::arg("stream"))
      .def_property_readonly(
          "shape",
          [](const DeviceArray& a) { return py::tuple(py::cast(of_array(a, &ArrayView::shape))); })
      .def_property_readonly("strides",
                             [](const DeviceArray& a) {
                               return py::tuple(py::cast(of_array(a, &ArrayView::strides)));
                             })
      .def_property_readonly("dtype", [](const DeviceArray& a) { return dtype_text(a.view()); })
      .def_property_readonly(
          "address",
          [](const DeviceArray& a) { return reinterpret_cast<uintptr_t>(a.view().data); })
      .def_property_readonly("writable", [](const DeviceArray& a) { return a.view().writable; })
      .def_property_readonly("device", &DeviceArray::device);
}

void register_weights(py::module_& m) {
  py::class_<Weights>(m, "Weights", py::module_local(), "One direction of one layer.")
      .def(py::init([](const std::string& cell, Argument weight_ih, Argument weight_hh,
                       Argument bias_ih, Argument bias_hh, Argument weight_unit, Argument weight_hr,
                       const std::string& precision, const std::string& path,
                       const std::vector<std::tuple<std::string, double, double>>& functions,
                       double gate_clip, bool coupled) {
             GateChoice gates{{}, gate_clip, coupled};
             for (const auto& [name, alpha, beta] : functions)
               gates.functions.push_back({name, alpha, beta});
             return Weights(
                 cell, {weight_ih, weight_hh, bias_ih, bias_hh, weight_unit, weight_hr},
                 one_of<Math>(
                     "precision", precision,
                     {{"full", Math::kFloat32}, {"tf32", Math::kTf32}, {"bf16", Math::kBf16}}),
                 one_of<Path>("path", path,
                              {{"auto", Path::kAuto},
                               {"steps", Path::kSteps},
                               {"persistent", Path::kPersistent}}),
                 gates);
           }),
           py::arg("cell"), py::arg("weight_ih").none(false), py::arg("weight_hh"),
           py::arg("bias_ih"), py::arg("bias_hh"), py::arg("weight_unit"), py::arg("weight_hr"),
           py::arg("precision"), py::arg("path"), py::arg("functions"), py::arg("gate_clip"),
           py::arg("coupled"), py::keep_alive<1, 3>(), py::keep_alive<1, 4>(),
           py::keep_alive<1, 5>(), py::keep_alive<1, 6>(), py::keep_alive<1, 7>(),
           py::keep_alive<1, 8>())
      .def_property_readonly("cell", [](const Weights& w) { return w.info().name; })
      .def_property_readonly("input_size", [](const Weights& w) { return w.layer.I; })
      .def_property_readonly("hidden_size", [](const Weights& w) { return w.layer.H; })
      .def_property_readonly("state_sizes", [](const Weights& w) {
        py::tuple sizes(w.info().state_count);
        for (int k = 0; k < w.info().state_count; ++k)
          sizes[static_cast<size_t>(k)] = w.state_size(k);
        return sizes;
      });
}

void register_plan(py::module_& m) {
  py::class_<DevicePlan>(m, "Plan", py::module_local(), "Which rows are live at which step.")
      .def(py::init([](const std::string& cell, int64_t T, int64_t B,
                       const std::optional<py::array>& lengths,
                       const std::optional<py::array>& resets, bool reverse) {
             return std::make_unique<DevicePlan>(cell, T, B, view_of(lengths), view_of(resets),
                                                 reverse);
           }),
           py::arg("cell"), py::arg("steps"), py::arg("batch"), py::arg("lengths").noconvert(),
           py::arg("resets").noconvert(), py::arg("reverse"))
      .def_property_readonly("nbytes", &DevicePlan::bytes)
      .def("upload", &DevicePlan::upload, py::arg("memory"), py::arg("stream"), py::arg("wait"),
           py::keep_alive<1, 2>());
}

void register_scan(py::module_& m) {
  m.def(
      "sizes",
      [](const Weights& weights, const DevicePlan& plan, bool training, bool factors) {
        const Sizes s = sizes(weights, plan, training, factors);
        const std::vector<int64_t> states(s.states, s.states + weights.info().state_count);
        return std::make_tuple(states, s.saved, s.forward, s.backward);
      },
      py::arg("weights"), py::arg("plan"), py::arg("training"), py::arg("factors"));
  m.def(
      "forward",
      [](const Weights& weights, const DevicePlan& plan, Argument x, Argument y,
         const Arrays& others, const Arrays& updates, double cell_clip, Argument factors,
         const Arrays& initial, const Arrays& final, const Arrays& states, Argument saved,
         Argument scratch, uintptr_t stream) {
        const py::gil_scoped_release release;
        forward(weights, plan,
                {x, y, others, updates, cell_clip, factors, initial, final, states, saved, scratch},
                stream);
      },
      py::arg("weights"), py::arg("plan"), py::arg("x").none(false), py::arg("y").none(false),
      py::arg("others"), py::arg("updates"), py::arg("cell_clip"), py::arg("factors"),
      py::arg("initial"), py::arg("final"), py::arg("states"), py::arg("saved"),
      py::arg("scratch").none(false), py::arg("stream"));
  m.def(
      "backward",
      [](const Weights& weights, const DevicePlan& plan, Argument x, Argument dy, Argument dx,
         bool accumulate_dx, const Arrays& dothers, const Arrays& updates, double cell_clip,
         Argument factors, double clip_value, double clip_norm, const Arrays& dfinal,
         const Arrays& dinitial, const Arrays& states, Argument saved, Argument dweight_ih,
         Argument dweight_hh, Argument dbias_ih, Argument dbias_hh, Argument dweight_unit,
         Argument dweight_hr, Argument scratch, uintptr_t stream) {
        const py::gil_scoped_release release;
        backward(weights, plan,
                 {x,
                  dy,
                  dx,
                  accumulate_dx,
                  dothers,
                  updates,
                  cell_clip,
                  factors,
                  clip_value,
                  clip_norm,
                  dfinal,
                  dinitial,
                  states,
                  saved,
                  {dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_unit, dweight_hr},
                  scratch},
                 stream);
      },
      py::arg("weights"), py::arg("plan"), py::arg("x").none(false), py::arg("dy"), py::arg("dx"),
      py::arg("accumulate_dx"), py::arg("dothers"), py::arg("updates"), py::arg("cell_clip"),
      py::arg("factors"), py::arg("clip_value"), py::arg("clip_norm"), py::arg("dfinal"),
      py::arg("dinitial"), py::arg("states"), py::arg("saved").none(false),
      py::arg("dweight_ih").none(false), py::arg("dweight_hh"), py::arg("dbias_ih"),
      py::arg("dbias_hh"), py::arg("dweight_unit"), py::arg("dweight_hr"),
      py::arg("scratch").none(false), py::arg("stream"));
}

void register_head(py::module_& m) {
  m.def("linear", &linear, py::arg("x").none(false), py::arg("weight").none(false), py::arg("bias"),
        py::arg("y").none(false), py::arg("stream"));
  m.def("linear_backward", &linear_backward, py::arg("x").none(false),
        py::arg("weight").none(false), py::arg("dy").none(false), py::arg("dx"),
        py::arg("dweight").none(false), py::arg("dbias"), py::arg("stream"));
  m.def(
      "cross_entropy_scratch",
      [](const DeviceArray& x, const DeviceArray& weight, bool gradients,
         const std::string& precision) {
        return cross_entropy_scratch(axis(x.view(), 0), axis(x.view(), 1), axis(weight.view(), 0),
                                     gradients, precision);
      },
      py::arg("x"), py::arg("weight"), py::arg("gradients"), py::arg("precision"));
  m.def(
      "cross_entropy",
      [](Argument x, Argument weight, Argument bias, const py::array& targets, Argument losses,
         double scale, double smoothing, Argument dx, Argument dweight, Argument dbias,
         Argument memory, Argument scratch, const std::string& precision, uintptr_t stream) {
        cross_entropy({x, weight, bias, view_of(targets), losses, scale, smoothing, dx, dweight,
                       dbias, memory, scratch, precision},
                      stream);
      },
      py::arg("x").none(false), py::arg("weight").none(false), py::arg("bias"),
      py::arg("targets").noconvert(), py::arg("losses").none(false), py::arg("scale"),
      py::arg("smoothing"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"),
      py::arg("memory").none(false), py::arg("scratch").none(false), py::arg("precision"),
      py::arg("stream"));
  m.def(
      "embedding",
      [](const py::array& indices, Argument weight, Argument out, Argument memory,
         uintptr_t stream) { embedding(view_of(indices), weight, out, memory, stream); },
      py::arg("indices").noconvert(), py::arg("weight").none(false), py::arg("out").none(false),
      py::arg("memory").none(false), py::arg("stream"));
  m.def(
      "embedding_backward",
      [](const py::array& indices, Argument dy, Argument dweight, Argument memory,
         uintptr_t stream) { embedding_backward(view_of(indices), dy, dweight, memory, stream); },
      py::arg("indices").noconvert(), py::arg("dy").none(false), py::arg("dweight").none(false),
      py::arg("memory").none(false), py::arg("stream"));
  m.def("dropout", &dropout, py::arg("x").none(false), py::arg("out").none(false), py::arg("p"),
        py::arg("seed"), py::arg("offset"), py::arg("stream"));
}

void register_optimizer(py::module_& m) {
  m.def(
      "adam_step",
      [](Argument params, Argument grads, Argument first, Argument second, double lr, double beta1,
         double beta2, double eps, double weight_decay, bool decoupled, int64_t step,
         double grad_scale, double clip_value, uintptr_t stream) {
        adam_step(params, grads, first, second,
                  {lr, beta1, beta2, eps, weight_decay, step, decoupled, {grad_scale, clip_value}},
                  stream);
      },
      py::arg("params").none(false), py::arg("grads").none(false), py::arg("m").none(false),
      py::arg("v").none(false), py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"),
      py::arg("weight_decay"), py::arg("decoupled"), py::arg("step"), py::arg("grad_scale"),
      py::arg("clip_value"), py::arg("stream"));
  m.def(
      "sgd_step",
      [](Argument params, Argument grads, Argument velocity, double lr, double momentum,
         bool nesterov, double weight_decay, double grad_scale, double clip_value,
         uintptr_t stream) {
        sgd_step(params, grads, velocity,
                 {lr, momentum, weight_decay, nesterov, {grad_scale, clip_value}}, stream);
      },
      py::arg("params").none(false), py::arg("grads").none(false), py::arg("velocity"),
      py::arg("lr"), py::arg("momentum"), py::arg("nesterov"), py::arg("weight_decay"),
      py::arg("grad_scale"), py::arg("clip_value"), py::arg("stream"));
  m.def(
      "rmsprop_step",
      [](Argument params, Argument grads, Argument square, Argument mean, Argument velocity,
         double lr, double alpha, double eps, double momentum, double weight_decay,
         double grad_scale, double clip_value, uintptr_t stream) {
        rmsprop_step(params, grads, square, mean, velocity,
                     {lr, alpha, eps, momentum, weight_decay, {grad_scale, clip_value}}, stream);
      },
      py::arg("params").none(false), py::arg("grads").none(false), py::arg("square").none(false),
      py::arg("mean"), py::arg("velocity"), py::arg("lr"), py::arg("alpha"), py::arg("eps"),
      py::arg("momentum"), py::arg("weight_decay"), py::arg("grad_scale"), py::arg("clip_value"),
      py::arg("stream"));
  m.def("average_step", &average_step, py::arg("params").none(false),
        py::arg("average").none(false), py::arg("weight"), py::arg("stream"));
  m.def("square_sum_count", &square_sum_count, py::arg("flat").none(false));
  m.def("square_sums", &square_sums, py::arg("flat").none(false), py::arg("sums").none(false),
        py::arg("stream"));
}

}  // namespace
}  // namespace unrolled::cuda

PYBIND11_MODULE(_cuda, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The scan on CUDA. Private: use unrolled.cuda.";
  pybind11::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const unrolled::DtypeError& wrong) {
      PyErr_SetString(PyExc_TypeError, wrong.what());
    }
  });
  m.def("load_cublas", &unrolled::cuda::load_cublas, pybind11::arg("candidates"));
  m.def("load_cell", &unrolled::cuda::load_cell, pybind11::arg("path"));
  m.def("device_count", &unrolled::cuda::device_count);
  unrolled::cuda::register_array(m);
  unrolled::cuda::register_weights(m);
  unrolled::cuda::register_plan(m);
  unrolled::cuda::register_scan(m);
  unrolled::cuda::register_head(m);
  unrolled::cuda::register_optimizer(m);
  unrolled::cuda::register_models(m);
}
