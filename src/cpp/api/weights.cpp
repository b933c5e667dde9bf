#include "api/weights.hpp"

#include <utility>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

constexpr const char* kPrecisionNames[kPrecisions] = {"full", "bf16", "int8"};

}  // namespace

std::vector<std::string> cell_precisions(const KernelTable& table, int cell) {
  return {kPrecisionNames, kPrecisionNames + (cell < table.narrow_cells ? kPrecisions : 1)};
}

template <class T>
FoundCell<T> find_cell(const std::string& name, Precision precision) {
  const FoundCell<T> found = lookup_cell<T>(kernels(), name, precision);
  if (found.info == nullptr) {
    std::string names;
    for (const std::string& known : cell_names(kernels()))
      names += (names.empty() ? "" : ", ") + known;
    fail_value("[cell] expected one of ", names, ", got '", name, "'");
  }
  if (found.kernels == nullptr)
    fail_value("[", name, "] expected precision full, the only one that this cell has");
  return found;
}

template <class T>
Precision find_precision(const std::string& name) {
  for (int i = 0; i < kPrecisions; ++i) {
    if (name != kPrecisionNames[i]) continue;
    if (kernels_of<T>(kernels()).cells[i] == nullptr)
      fail_value("[precision] expected full for arrays of float64, got ", name);
    return static_cast<Precision>(i);
  }
  fail_value("[precision] expected full, bf16 or int8, got '", name, "'");
}

template <class T>
LayerParameters<T> layer_parameters(const CellInfo& info, const LayerArrays& arrays, int64_t I,
                                    int64_t H, int64_t R, Access access) {
  const int64_t rows = info.gate_count * H;
  const bool written = access == Access::kWrite;
  const auto take = [&](const char* name, const char* letters, std::initializer_list<int64_t> shape,
                        const ArrayView& view, bool possible, bool needed) {
    name += written ? 0 : 1;  // "dweight_ih" or "weight_ih"
    if (view.present && !possible)
      fail_value("[", info.name, "] expected no ", name, ", which this cell does not have");
    if (!view.present && needed)
      fail_value("[", info.name, "] expected ", name, " of shape ", letters, ", got None");
    return contiguous<T>({info.name, name, letters, shape}, view, access);
  };
  const bool recurrent = info.recurrent, units = info.unit_count > 0, projects = info.projects;
  return {take("dweight_ih", "(G*H, I)", {rows, I}, arrays.weight_ih, true, true),
          take("dweight_hh", projects ? "(G*H, R)" : "(G*H, H)", {rows, R}, arrays.weight_hh,
               recurrent, recurrent),
          take("dbias_ih", "(G*H,)", {rows}, arrays.bias_ih, true, false),
          take("dbias_hh", "(G*H,)", {rows}, arrays.bias_hh, recurrent, false),
          take("dweight_unit", "(P*H,)", {info.unit_count * H}, arrays.weight_unit, units,
               units && info.function_count == 0),
          take("dweight_hr", "(R, H)", {R, H}, arrays.weight_hr, projects, projects)};
}

template <class T>
void place_weights(Weights<T>& w, Buffer<T> memory) {
  const LayerSizes& s = w.sizes;
  const int64_t size = packed_size(s, w.backward);
  if (memory.data() == nullptr) memory = Buffer<T>(size);
  if (memory.size() < size)
    fail_value("[", w.info().name, "] expected ", size,
               " elements of memory for packed weights, got ", memory.size());
  w.memory = std::move(memory);
  T* next = w.memory.data();
  const auto take = [&next](int64_t size) { return std::exchange(next, next + size); };
  w.packed.input = take(s.input);
  w.packed.recurrent = take(s.recurrent);
  w.packed.bias_input = take(s.bias);
  w.packed.bias_recurrent = take(s.bias);
  w.packed.unit = take(s.unit);
  w.packed.second = take(s.second);
  w.packed.second_bias = take(s.second_bias);
  if (!w.backward) return;
  w.packed.input_t = take(s.input_t);
  w.packed.recurrent_t = take(s.recurrent_t);
  w.packed.second_t = take(s.second_t);
}

template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, Precision precision,
                        bool backward, const GateChoice& gates, Buffer<T> memory) {
  const KernelTable& table = kernels();
  Weights<T> w{};
  w.table = &table;
  w.cell = find_cell<T>(cell, precision);
  w.backward = backward;
  if (backward && w.kernels().backward == nullptr)
    fail_value("[", cell, "] expected backward=False with precision int8, which is for inference");
  const CellInfo& info = w.info();
  const auto matrix_size = [&](const ArrayView& view, int axis) {
    return view.dimensions == 2 ? view.shape[axis] : 0;
  };
  const ArrayView& square = info.projects ? arrays.weight_hr : arrays.weight_hh;
  const int64_t H =
      info.recurrent ? matrix_size(square, 1) : matrix_size(arrays.weight_ih, 0) / info.gate_count;
  const int64_t I = matrix_size(arrays.weight_ih, 1);
  const int64_t R = info.projects ? matrix_size(square, 0) : H;
  if (info.projects && (R < 1 || R > H))
    fail_value("[", info.name, "] expected weight_hr of shape (R, H) with 1 <= R <= H, got ",
               square.present ? shape_text(square) : "None");
  if (H < 1 || I < 1)
    fail_value("[", info.name, "] expected weight_ih of shape (G*H, I)",
               info.recurrent ? " and weight_hh of shape (G*H, H)" : "",
               " with I >= 1 and H >= 1, got ", shape_text(arrays.weight_ih),
               info.recurrent ? " and " + shape_text(arrays.weight_hh) : "");
  const auto from = layer_parameters<const T>(info, arrays, I, H, R, Access::kRead);

  const CellKernels<T>& cell_kernels = w.kernels();
  const LayerSizes& s = w.sizes = cell_kernels.sizes(I, H, R);
  w.packed.I = I, w.packed.H = H, w.packed.R = R;
  w.packed.gates = gate_options<T>(info, gates);
  place_weights(w, std::move(memory));
  run_team(team_size(4.0 * static_cast<double>(w.memory.size()), 0, s.forward_panels),
           [&](const Team& team) { cell_kernels.pack(from, w.packed, team); });
  return w;
}

#define UNROLLED_INSTANTIATE(T)                                                                 \
  template Precision find_precision<T>(const std::string&);                                     \
  template FoundCell<T> find_cell<T>(const std::string&, Precision);                            \
  template LayerParameters<T> layer_parameters<T>(const CellInfo&, const LayerArrays&, int64_t, \
                                                  int64_t, int64_t, Access);                    \
  template void place_weights<T>(Weights<T>&, Buffer<T>);                                       \
  template Weights<T> pack_weights<T>(const std::string&, const LayerArrays&, Precision, bool,  \
                                      const GateChoice&, Buffer<T>);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
