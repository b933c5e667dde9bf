// The scan as custom calls of XLA, which JAX runs: no interpreter, no copies, no state beside XLA's
// own buffers. Packed weights and saved values are arrays of bytes among them.
//
//   pack      parameters... -> packed
//   forward   packed, x, initial..., [lengths], [resets] -> y, final..., [saved]
//   backward  packed, saved, x, [lengths], [resets], dy, dfinal...
//             -> [dx], dinitial..., dparameters...
//
// Parameters are weight_ih, weight_hh, bias_ih, bias_hh, weight_unit and weight_hr, without those
// that the cell does not have.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <cstring>
#include <utility>

#include "api/lent.hpp"
#include "bindings/arrays.hpp"
#include "bindings/register.hpp"
#include "bindings/xla_call.hpp"

namespace unrolled {
namespace {

// The cell that the program was compiled for. Packed weights and saved values are laid out for one
// instruction set.
std::string cell_of(const XlaCall& call) {
  const std::string cell = call.text("cell"), isa = call.text("isa");
  if (isa != kernels().isa)
    fail_value("[", cell, "] expected a program compiled for isa ", kernels().isa, ", got ", isa,
               "; call jax.clear_caches()");
  return cell;
}

template <class T>
Buffer<T> memory_of(const ArrayView& bytes) {
  if (bytes.kind_name != "uint8" || reinterpret_cast<uintptr_t>(bytes.data) % alignof(T) != 0)
    fail_value("[jax] expected memory of uint8, aligned to ", alignof(T), " bytes, got ",
               dtype_text(bytes));
  return Buffer<T>::lent(static_cast<T*>(bytes.data),
                         axis(bytes, 0) / static_cast<int64_t>(sizeof(T)));
}

// What a call says of its sequence beside x. JAX's integers have 32 bits unless told otherwise.
struct Spans {
  ArrayView lengths, resets;
  std::vector<int64_t> widened;

  explicit Spans(XlaCall& call) {
    if (call.flag("ragged")) lengths = call.argument();
    if (call.flag("resetting")) resets = call.argument();
    if (lengths.kind_name != "int32") return;
    const auto* given = static_cast<const int32_t*>(lengths.data);
    widened.assign(given, given + axis(lengths, 0));
    lengths.kind = Kind::kInt64;
    lengths.data = widened.data();
  }
  Spans(const Spans&) = delete;
  Spans& operator=(const Spans&) = delete;
};

template <class T>
const CellInfo& info_of(const std::string& cell) {
  return *find_cell<T>(cell, Precision::kFull).info;
}

// The parameters of a cell, or their gradients, each by a call of `next`.
template <class Next>
LayerArrays parameters(const CellInfo& info, Next next) {
  LayerArrays arrays{};
  arrays.weight_ih = next();
  if (info.recurrent) arrays.weight_hh = next();
  arrays.bias_ih = next();
  if (info.recurrent) arrays.bias_hh = next();
  if (info.unit_count > 0) arrays.weight_unit = next();
  if (info.projects) arrays.weight_hr = next();
  return arrays;
}

// The packed weights for states (B, R), or (B, H) each, of which h comes first.
template <class T>
std::shared_ptr<const Weights<T>> weights_of(const std::string& cell, const ArrayView& x,
                                             const std::vector<ArrayView>& states, bool backward,
                                             const ArrayView& packed) {
  return lent_weights<T>(cell, axis(x, 2), axis(states.back(), 1), axis(states.front(), 1),
                         backward, memory_of<T>(packed));
}

void pack(XlaCall& call) {
  const std::string cell = cell_of(call);
  const ArrayView weight_ih = call.argument();
  with_dtype(cell.c_str(), "weight_ih", weight_ih, [&](auto zero) {
    using T = decltype(zero);
    bool first = true;
    const LayerArrays arrays = parameters(info_of<T>(cell), [&] {
      return std::exchange(first, false) ? weight_ih : call.argument();
    });
    pack_weights<T>(cell, arrays, Precision::kFull, call.flag("backward"), {},
                    memory_of<T>(call.result()));
  });
}

void forward(XlaCall& call) {
  const std::string cell = cell_of(call);
  const bool save = call.flag("save");
  const ArrayView packed = call.argument();
  ForwardArrays arrays{};
  arrays.x = call.argument();
  with_dtype(cell.c_str(), "x", arrays.x, [&](auto zero) {
    using T = decltype(zero);
    const int states = info_of<T>(cell).state_count;
    arrays.initial = call.arguments(states);
    const Spans spans(call);
    arrays.lengths = spans.lengths;
    arrays.resets = spans.resets;
    arrays.reverse = call.flag("reverse");
    arrays.y = call.result();
    arrays.final = call.results(states);
    const auto weights = weights_of<T>(cell, arrays.x, arrays.initial, save, packed);
    run_forward<T>(weights, arrays, save, kStoreAll,
                   save ? memory_of<T>(call.result()) : Buffer<T>());
  });
}

// Gradients of parameters are added to.
void clear(const ArrayView& view, size_t element) {
  if (!view.present) return;
  for (int i = 0; i < view.dimensions; ++i) element *= static_cast<size_t>(view.shape[i]);
  std::memset(view.data, 0, element);
}

void backward(XlaCall& call) {
  const std::string cell = cell_of(call);
  const ArrayView packed = call.argument(), memory = call.argument();
  ForwardArrays arrays{};
  arrays.x = call.argument();
  with_dtype(cell.c_str(), "x", arrays.x, [&](auto zero) {
    using T = decltype(zero);
    const CellInfo& info = info_of<T>(cell);
    const Spans spans(call);
    arrays.lengths = spans.lengths;
    arrays.resets = spans.resets;
    arrays.reverse = call.flag("reverse");
    BackwardArrays back{};
    back.dy = call.argument();
    back.dfinal = call.arguments(info.state_count);
    if (call.flag("needs_dx")) back.dx = call.result();
    back.dinitial = call.results(info.state_count);
    back.grads = parameters(info, [&] { return call.result(); });
    const auto weights = weights_of<T>(cell, arrays.x, back.dfinal, true, packed);
    const auto saved = lent_saved<T>(weights, arrays, memory_of<T>(memory));
    const LayerArrays& grads = back.grads;
    for (const ArrayView* view : {&grads.weight_ih, &grads.weight_hh, &grads.bias_ih,
                                  &grads.bias_hh, &grads.weight_unit, &grads.weight_hr})
      clear(*view, sizeof(T));
    run_backward<T>(*saved, back);
  });
}

template <void (*body)(XlaCall& call)>
pybind11::capsule handler() {
  xla::Error* (*const function)(xla::Frame*) = [](xla::Frame* frame) {
    return answer(frame, body);
  };
  return pybind11::capsule(reinterpret_cast<const void*>(function), "xla._CUSTOM_CALL_TARGET");
}

std::vector<int64_t> sizes(const std::string& cell, int64_t input_size, int64_t hidden_size,
                           int64_t output_size, int64_t steps, int64_t batch, bool backward,
                           bool double_precision) {
  const auto function = double_precision ? &lent_sizes<double> : &lent_sizes<float>;
  const LentSizes s = function(cell, input_size, hidden_size, output_size, steps, batch, backward);
  return {s.packed, s.saved};
}

}  // namespace

void register_xla(pybind11::module_& m) {
  const auto handlers = [](int major, int minor) {
    speak_version(major, minor);
    pybind11::typing::Dict<pybind11::str, pybind11::object> handlers;
    handlers["pack"] = handler<&pack>();
    handlers["forward"] = handler<&forward>();
    handlers["backward"] = handler<&backward>();
    return handlers;
  };
  m.def("xla_handlers", handlers, pybind11::arg("major"), pybind11::arg("minor"));
  m.def("xla_sizes", &sizes, pybind11::arg("cell"), pybind11::arg("input_size"),
        pybind11::arg("hidden_size"), pybind11::arg("output_size"), pybind11::arg("steps"),
        pybind11::arg("batch"), pybind11::arg("backward"), pybind11::arg("double_precision"));
}

}  // namespace unrolled
