#include "api/weights.hpp"

#include <utility>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

std::string cell_names(const KernelTable& table) {
  std::string names;
  for (int i = 0; i < table.cell_count; ++i) {
    if (i > 0) names += ", ";
    names += table.cells[i].name;
  }
  return names;
}

constexpr const char* kPrecisionNames[kPrecisions] = {"full", "bf16", "int8"};

}  // namespace

std::vector<std::string> cell_precisions(const KernelTable& table, int cell) {
  return {kPrecisionNames, kPrecisionNames + (cell < table.narrow_cells ? kPrecisions : 1)};
}

int find_cell(const std::string& name) {
  const KernelTable& table = kernels();
  for (int i = 0; i < table.cell_count; ++i)
    if (name == table.cells[i].name) return i;
  fail_value("[cell] expected one of ", cell_names(table), ", got '", name, "'");
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
                                    int64_t H, Access access) {
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
  const bool recurrent = info.recurrent, units = info.unit_count > 0;
  return {take("dweight_ih", "(G*H, I)", {rows, I}, arrays.weight_ih, true, true),
          take("dweight_hh", "(G*H, H)", {rows, H}, arrays.weight_hh, recurrent, recurrent),
          take("dbias_ih", "(G*H,)", {rows}, arrays.bias_ih, true, false),
          take("dbias_hh", "(G*H,)", {rows}, arrays.bias_hh, recurrent, false),
          take("dweight_unit", "(P*H,)", {info.unit_count * H}, arrays.weight_unit, units, units)};
}

template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, Precision precision,
                        bool backward) {
  const KernelTable& table = kernels();
  Weights<T> w{};
  w.table = &table;
  w.cell = find_cell(cell);
  w.precision = precision;
  w.backward = backward;
  if (precision != Precision::kFull && w.cell >= table.narrow_cells)
    fail_value("[", cell, "] expected precision full, the only one that this cell has");
  if (backward && w.kernels().backward == nullptr)
    fail_value("[", cell, "] expected backward=False with precision int8, which is for inference");
  const CellInfo& info = w.info();
  const auto matrix_size = [&](const ArrayView& view, int axis) {
    return view.dimensions == 2 ? view.shape[axis] : 0;
  };
  const int64_t H = info.recurrent ? matrix_size(arrays.weight_hh, 1)
                                   : matrix_size(arrays.weight_ih, 0) / info.gate_count;
  const int64_t I = matrix_size(arrays.weight_ih, 1);
  if (H < 1 || I < 1)
    fail_value("[", info.name, "] expected weight_ih of shape (G*H, I)",
               info.recurrent ? " and weight_hh of shape (G*H, H)" : "",
               " with I >= 1 and H >= 1, got ", shape_text(arrays.weight_ih),
               info.recurrent ? " and " + shape_text(arrays.weight_hh) : "");
  const auto from = layer_parameters<const T>(info, arrays, I, H, Access::kRead);

  const CellKernels<T>& cell_kernels = w.kernels();
  const LayerSizes& s = w.sizes = cell_kernels.sizes(I, H);
  w.memory = Buffer<T>(packed_size(s, backward));
  T* next = w.memory.data();
  const auto take = [&next](int64_t size) { return std::exchange(next, next + size); };
  w.packed = {I,       H,       take(s.input), take(s.recurrent), take(s.bias), take(s.bias),
              nullptr, nullptr, take(s.unit)};
  if (backward) {
    w.packed.input_t = take(s.input_t);
    w.packed.recurrent_t = take(s.recurrent_t);
  }
  run_team(team_size(4.0 * static_cast<double>(w.memory.size()), 0, s.forward_panels),
           [&](const Team& team) { cell_kernels.pack(from, w.packed, team); });
  return w;
}

#define UNROLLED_INSTANTIATE(T)                                                                 \
  template Precision find_precision<T>(const std::string&);                                     \
  template LayerParameters<T> layer_parameters<T>(const CellInfo&, const LayerArrays&, int64_t, \
                                                  int64_t, Access);                             \
  template Weights<T> pack_weights<T>(const std::string&, const LayerArrays&, Precision, bool);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
