#include <pybind11/stl.h>

#include "api/memory.hpp"
#include "bindings/arrays.hpp"
#include "bindings/layers.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

template <class Get>
auto of_weights(const PyWeights& weights, Get get) {
  return std::visit([&](const auto& held) { return get(*held); }, weights.held);
}

PyWeights pack(const std::string& cell, const py::array& weight_ih,
               const std::optional<py::array>& weight_hh, const std::optional<py::array>& bias_ih,
               const std::optional<py::array>& bias_hh, const std::optional<py::array>& weight_unit,
               const std::optional<py::array>& weight_hr, const std::string& precision,
               bool backward, const std::vector<std::tuple<std::string, double, double>>& functions,
               double gate_clip, bool coupled) {
  const LayerArrays arrays{view_of(weight_ih), view_of(weight_hh),   view_of(bias_ih),
                           view_of(bias_hh),   view_of(weight_unit), view_of(weight_hr)};
  GateChoice gates{{}, gate_clip, coupled};
  for (const auto& [name, alpha, beta] : functions) gates.functions.push_back({name, alpha, beta});
  return with_dtype(cell.c_str(), "weight_ih", arrays.weight_ih, [&](auto zero) {
    using T = decltype(zero);
    py::gil_scoped_release release;
    return PyWeights{std::make_shared<const Weights<T>>(
        pack_weights<T>(cell, arrays, find_precision<T>(precision), backward, gates))};
  });
}

std::optional<PySaved> forward(
    const PyWeights& weights, const py::array& x, const std::optional<py::array>& tokens,
    const py::array& y, const std::vector<py::array>& initial, const std::vector<py::array>& final,
    const std::vector<py::array>& others, const std::vector<py::array>& updates,
    const std::optional<py::array>& lengths, const std::optional<py::array>& resets, bool reverse,
    double cell_clip, const std::optional<py::array>& factors, bool save, int64_t recompute) {
  const ForwardArrays arrays{view_of(x),        view_of(y),       view_of(tokens),
                             views_of(initial), views_of(final),  views_of(others),
                             views_of(updates), view_of(lengths), view_of(resets),
                             reverse,           cell_clip,        view_of(factors)};
  return std::visit(
      [&](const auto& held) -> std::optional<PySaved> {
        std::optional<SavedOf> saved;
        {
          py::gil_scoped_release release;
          if (auto made = run_forward(held, arrays, save, recompute))
            saved =
                std::shared_ptr<const std::remove_reference_t<decltype(*made)>>(std::move(made));
        }
        if (!saved) return std::nullopt;
        return PySaved{*saved, x, updates, factors};
      },
      weights.held);
}

void backward(const PySaved& saved, const std::optional<py::array>& dy,
              const std::vector<py::array>& dothers, const std::vector<py::array>& dfinal,
              const std::vector<py::array>& dinitial, const std::optional<py::array>& dx,
              bool accumulate_dx, const py::array& dweight_ih,
              const std::optional<py::array>& dweight_hh, const std::optional<py::array>& dbias_ih,
              const std::optional<py::array>& dbias_hh,
              const std::optional<py::array>& dweight_unit,
              const std::optional<py::array>& dweight_hr, double clip_value, double clip_norm) {
  const BackwardArrays arrays{view_of(dy),
                              view_of(dx),
                              views_of(dothers),
                              views_of(dfinal),
                              views_of(dinitial),
                              {view_of(dweight_ih), view_of(dweight_hh), view_of(dbias_ih),
                               view_of(dbias_hh), view_of(dweight_unit), view_of(dweight_hr)},
                              accumulate_dx,
                              clip_value,
                              clip_norm};
  std::visit(
      [&](const auto& held) {
        py::gil_scoped_release release;
        run_backward(*held, arrays);
      },
      saved.held);
}

std::vector<int64_t> memory(const std::string& cell, int64_t input_size, int64_t hidden_size,
                            int64_t output_size, int64_t steps, int64_t batch,
                            const std::optional<py::array>& lengths, bool reverse,
                            int64_t recompute, const std::string& precision, bool double_precision,
                            bool factors, bool clips_norm) {
  const ScanQuery query{cell,  precision,        input_size, hidden_size, output_size, steps,
                        batch, view_of(lengths), reverse,    recompute,   factors,     clips_norm};
  const ScanMemory m = double_precision ? scan_memory<double>(query) : scan_memory<float>(query);
  return {m.weights, m.saved, m.forward, m.backward};
}

}  // namespace

void register_sequence(py::module_& m) {
  py::class_<PyWeights>(m, "Weights", "One direction of one layer, packed for the kernels.")
      .def_property_readonly(
          "cell",
          [](const PyWeights& w) {
            return of_weights(w, [](const auto& held) { return std::string(held.info().name); });
          })
      .def_property_readonly("dtype",
                             [](const PyWeights& w) {
                               return w.held.index() == 0 ? py::dtype::of<float>()
                                                          : py::dtype::of<double>();
                             })
      .def_property_readonly("input_size",
                             [](const PyWeights& w) {
                               return of_weights(w, [](const auto& held) { return held.packed.I; });
                             })
      .def_property_readonly("hidden_size",
                             [](const PyWeights& w) {
                               return of_weights(w, [](const auto& held) { return held.packed.H; });
                             })
      .def_property_readonly("state_sizes",
                             [](const PyWeights& w) {
                               return of_weights(w, [](const auto& held) {
                                 py::tuple sizes(held.info().state_count);
                                 for (int k = 0; k < held.info().state_count; ++k)
                                   sizes[static_cast<size_t>(k)] = held.state_size(k);
                                 return sizes;
                               });
                             })
      .def_property_readonly("state_count",
                             [](const PyWeights& w) {
                               return of_weights(
                                   w, [](const auto& held) { return held.info().state_count; });
                             })
      .def_property_readonly(
          "isa",
          [](const PyWeights& w) {
            return of_weights(w, [](const auto& held) { return std::string(held.table->isa); });
          })
      .def_property_readonly("nbytes", [](const PyWeights& w) {
        return of_weights(w, [](const auto& held) { return held.memory.bytes(); });
      });
  py::class_<PySaved>(m, "Saved", "What a forward pass keeps for its pullbacks.")
      .def_property_readonly("nbytes", [](const PySaved& s) {
        return std::visit([](const auto& held) { return held->bytes(); }, s.held);
      });
  m.def("pack", &pack, py::arg("cell"), py::arg("weight_ih").noconvert(),
        py::arg("weight_hh").noconvert(), py::arg("bias_ih").noconvert(),
        py::arg("bias_hh").noconvert(), py::arg("weight_unit").noconvert(),
        py::arg("weight_hr").noconvert(), py::arg("precision"), py::arg("backward"),
        py::arg("functions"), py::arg("gate_clip"), py::arg("coupled"));
  m.def("forward", &forward, py::arg("weights"), py::arg("x").noconvert(),
        py::arg("tokens").noconvert(), py::arg("y").noconvert(), py::arg("initial").noconvert(),
        py::arg("final").noconvert(), py::arg("others").noconvert(), py::arg("updates").noconvert(),
        py::arg("lengths").noconvert(), py::arg("resets").noconvert(), py::arg("reverse"),
        py::arg("cell_clip"), py::arg("factors").noconvert(), py::arg("save"),
        py::arg("recompute"));
  m.attr("STORE_ALL") = kStoreAll;
  m.attr("STORE_STATES") = kStoreStates;
  m.def("memory", &memory, py::arg("cell"), py::arg("input_size"), py::arg("hidden_size"),
        py::arg("output_size"), py::arg("steps"), py::arg("batch"), py::arg("lengths").noconvert(),
        py::arg("reverse"), py::arg("recompute"), py::arg("precision"), py::arg("double_precision"),
        py::arg("factors"), py::arg("clips_norm"));
  m.def("backward", &backward, py::arg("saved"), py::arg("dy").noconvert(),
        py::arg("dothers").noconvert(), py::arg("dfinal").noconvert(),
        py::arg("dinitial").noconvert(), py::arg("dx").noconvert(), py::arg("accumulate_dx"),
        py::arg("dweight_ih").noconvert(), py::arg("dweight_hh").noconvert(),
        py::arg("dbias_ih").noconvert(), py::arg("dbias_hh").noconvert(),
        py::arg("dweight_unit").noconvert(), py::arg("dweight_hr").noconvert(),
        py::arg("clip_value"), py::arg("clip_norm"));
}

}  // namespace unrolled
