#include "api/system.hpp"

#include <pybind11/stl.h>

#include <memory>

#include "api/weights.hpp"
#include "bindings/arrays.hpp"
#include "bindings/register.hpp"
#include "runtime/arena.hpp"
#include "runtime/cells.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

struct PyCell {
  std::string name;
  std::vector<std::string> gates, states, units;
  bool recurrent, projects, normalises, clips;
  std::vector<std::string> functions;
  std::vector<std::string> precisions;
};

std::vector<std::string> names_of_functions(const CellInfo& info) {
  std::vector<std::string> names;
  for (int i = 0; i < info.function_count; ++i)
    names.push_back(kFunctionNames[static_cast<int>(info.functions[i])]);
  return names;
}

std::vector<PyCell> cells() {
  const KernelTable& table = kernels();
  std::vector<PyCell> list;
  for (int i = 0; i < table.cell_count; ++i) {
    const CellInfo& info = table.cells[i];
    list.push_back({info.name,
                    {info.gates, info.gates + info.gate_count},
                    {info.states, info.states + info.state_count},
                    {info.units, info.units + info.unit_count},
                    info.recurrent,
                    info.projects,
                    info.normalises,
                    info.clips,
                    names_of_functions(info),
                    cell_precisions(table, i)});
  }
  return list;
}

void apply_math(const std::string& function, const py::array& x, const py::array& y) {
  const ArrayView from = view_of(x), to = view_of(y);
  const MathFunction chosen =
      function == "exp"       ? MathFunction::kExp
      : function == "sigmoid" ? MathFunction::kSigmoid
      : function == "tanh"    ? MathFunction::kTanh
      : function == "log1p"
          ? MathFunction::kLog1p
          : (fail_value("[apply_math] expected exp, sigmoid, tanh or log1p, got '", function, "'"),
             MathFunction::kExp);
  with_dtype("apply_math", "x", from,
             [&](auto zero) { run_math<decltype(zero)>(chosen, from, to); });
}

// Uninitialised bytes, which go back to the kept buffers when the last array that views them goes.
py::array empty_bytes(int64_t nbytes) {
  auto buffer = std::make_unique<Buffer<uint8_t>>(nbytes);
  uint8_t* const data = buffer->data();
  const py::capsule owner(buffer.get(),
                          [](void* held) { delete static_cast<Buffer<uint8_t>*>(held); });
  buffer.release();
  return py::array_t<uint8_t>(nbytes, data, owner);
}

}  // namespace

void register_system(py::module_& m) {
  py::class_<PyCell>(m, "CellInfo")
      .def_readonly("name", &PyCell::name)
      .def_property_readonly("gates", [](const PyCell& c) { return py::tuple(py::cast(c.gates)); })
      .def_property_readonly("states",
                             [](const PyCell& c) { return py::tuple(py::cast(c.states)); })
      .def_property_readonly("units", [](const PyCell& c) { return py::tuple(py::cast(c.units)); })
      .def_readonly("recurrent", &PyCell::recurrent)
      .def_readonly("projects", &PyCell::projects)
      .def_readonly("normalises", &PyCell::normalises)
      .def_readonly("clips", &PyCell::clips)
      .def_property_readonly("functions",
                             [](const PyCell& c) { return py::tuple(py::cast(c.functions)); })
      .def_property_readonly("precisions",
                             [](const PyCell& c) { return py::tuple(py::cast(c.precisions)); });
  m.def("cells", &cells);
  m.def("load_cell", &load_cell, py::arg("path"), py::call_guard<py::gil_scoped_release>());
  m.def("isa", [] { return std::string(kernels().isa); });
  m.def("available_isas", &available_isas);
  m.def("force_isa", &force_isa, py::arg("name"));
  m.def("get_num_threads", &wanted_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("count"));
  m.def("trim_memory", &trim_memory);
  m.def("empty_bytes", &empty_bytes, py::arg("nbytes"));
  m.def("apply_math", &apply_math, py::arg("function"), py::arg("x").noconvert(),
        py::arg("y").noconvert());
  m.def(
      "measure_fma_peak",
      [](bool double_precision) {
        return double_precision ? measure_fma_peak<double>() : measure_fma_peak<float>();
      },
      py::arg("double_precision"), py::call_guard<py::gil_scoped_release>());
  m.def("measure_bandwidth", &measure_bandwidth, py::arg("nbytes"),
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace unrolled
