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

}  // namespace

void check_extra_count(const CellInfo& info, const char* prefix,
                       const std::vector<ArrayView>& extras) {
  int64_t given = 0;
  for (const ArrayView& view : extras) given += view.present;
  std::string names;
  for (int i = 0; i < info.extra_count; ++i)
    names += std::string(i > 0 ? ", " : ": ") + prefix + info.extras[i];
  if (given != info.extra_count || extras.size() != static_cast<size_t>(info.extra_count))
    fail_value("[", info.name, "] expected ", info.extra_count,
               prefix[0] == 0 ? " parameters" : " gradients", " beside weights and biases", names,
               "; got ", given);
}

int find_cell(const std::string& name) {
  const KernelTable& table = kernels();
  for (int i = 0; i < table.cell_count; ++i)
    if (name == table.cells[i].name) return i;
  fail_value("[cell] expected one of ", cell_names(table), ", got '", name, "'");
}

template <class T>
Precision find_precision(const std::string& name) {
  constexpr const char* names[kPrecisions] = {"full", "bf16", "int8"};
  for (int i = 0; i < kPrecisions; ++i) {
    if (name != names[i]) continue;
    if (kernels_of<T>(kernels()).cells[i] == nullptr)
      fail_value("[precision] expected full for arrays of float64, got ", name);
    return static_cast<Precision>(i);
  }
  fail_value("[precision] expected full, bf16 or int8, got '", name, "'");
}

template <class T>
const CellKernels<T>& find_kernels(const KernelTable& table, int cell, Precision precision) {
  const CellKernels<T>& found = kernels_of<T>(table).cells[static_cast<int>(precision)][cell];
  if (found.forward == nullptr)
    fail_value("[", table.cells[cell].name, "] expected precision full, which is all that it has");
  return found;
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
  const CellKernels<T>& cell_kernels = find_kernels<T>(table, w.cell, precision);
  if (backward && cell_kernels.backward == nullptr)
    fail_value("[", cell, "] expected backward=False with precision int8, which is for inference");
  const char* name = w.info().name;
  const int64_t G = w.info().gate_count;
  const auto matrix_size = [&](const ArrayView& view, int axis) {
    return view.dimensions == 2 ? view.shape[axis] : 0;
  };
  const bool projects = w.info().projects;
  check_extra_count(w.info(), "", arrays.extras);
  const int64_t I = matrix_size(arrays.weight_ih, 1), P = matrix_size(arrays.weight_hh, 1);
  const int64_t H = projects ? matrix_size(arrays.extras[0], 1) : P;
  const char* hh_shape = projects ? "(G*H, P)" : "(G*H, H)";
  if (H < 1 || I < 1 || P < 1)
    fail_value("[", name, "] expected weight_ih of shape (G*H, I) and weight_hh of shape ",
               hh_shape, " with I >= 1 and H >= 1, got ", shape_text(arrays.weight_ih), " and ",
               shape_text(arrays.weight_hh));
  if (P > H)
    fail_value("[", name, "] expected weight_hr of shape (P, H) with P <= H, got ",
               shape_text(arrays.extras[0]));
  LayerParameters<const T> from{
      contiguous<const T>({name, "weight_ih", "(G*H, I)", {G * H, I}}, arrays.weight_ih,
                          Access::kRead),
      contiguous<const T>({name, "weight_hh", hh_shape, {G * H, P}}, arrays.weight_hh,
                          Access::kRead),
      contiguous<const T>({name, "bias_ih", "(G*H,)", {G * H}}, arrays.bias_ih, Access::kRead),
      contiguous<const T>({name, "bias_hh", "(G*H,)", {G * H}}, arrays.bias_hh, Access::kRead),
      {}};
  read_extras<const T>(w.info(), "", arrays.extras, H, P, Access::kRead, from.extras);

  const LayerSizes& s = w.sizes = cell_kernels.sizes(I, H, P);
  w.memory = Buffer<T>(packed_size(s, backward));
  T* next = w.memory.data();
  const auto take = [&next](int64_t size) { return std::exchange(next, next + size); };
  w.packed.I = I, w.packed.H = H, w.packed.P = P;
  w.packed.input = take(s.input);
  w.packed.recurrent = take(s.recurrent);
  w.packed.bias_input = take(s.bias);
  w.packed.bias_recurrent = take(s.bias);
  w.packed.second = take(s.second);
  w.packed.second_bias = take(s.second_bias);
  w.packed.norm = take(s.norm);
  if (backward) {
    w.packed.input_t = take(s.input_t);
    w.packed.recurrent_t = take(s.recurrent_t);
    w.packed.second_t = take(s.second_t);
  }
  run_team(team_size(4.0 * static_cast<double>(w.memory.size()), 0, s.forward_panels),
           [&](const Team& team) { cell_kernels.pack(from, w.packed, team); });
  return w;
}

#define UNROLLED_INSTANTIATE(T)                                                       \
  template Precision find_precision<T>(const std::string&);                           \
  template const CellKernels<T>& find_kernels<T>(const KernelTable&, int, Precision); \
  template Weights<T> pack_weights<T>(const std::string&, const LayerArrays&, Precision, bool);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
