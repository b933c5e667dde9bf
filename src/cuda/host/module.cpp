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
#include "cuda/host/scan.hpp"

namespace unrolled::cuda {
namespace {

// Arguments are owned by Python for the time of a call.
using Arrays = std::vector<const DeviceArray*>;

template <class T>
T one_of(const char* name, const std::string& given,
         std::initializer_list<std::pair<const char*, T>> choices) {
  std::string names;
  for (const auto& [text, value] : choices) {
    if (given == text) return value;
    names.append(names.empty() ? "" : ", ").append(text);
  }
  fail_value("[cuda] expected ", name, " to be one of ", names, ", got '", given, "'");
}

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
  m.def("device_count", &unrolled::cuda::device_count);
  unrolled::cuda::register_array(m);
  unrolled::cuda::register_weights(m);
  unrolled::cuda::register_plan(m);
  unrolled::cuda::register_scan(m);
}
