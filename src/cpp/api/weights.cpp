#include "api/weights.hpp"

#include <utility>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
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
    fail_value("[cell] expected ", name, " to be compiled for this dtype and precision, it is not");
  return found;
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
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, Precision precision,
                        bool backward) {
  const KernelTable& table = kernels();
  Weights<T> w{};
  w.table = &table;
  w.cell = find_cell<T>(cell, precision);
  w.backward = backward;
  if (backward && w.kernels().backward == nullptr)
    fail_value("[", cell, "] expected backward=False with precision int8, which is for inference");
  const char* name = w.info().name;
  const int64_t G = w.info().gate_count;
  const auto matrix_size = [&](const ArrayView& view, int axis) {
    return view.dimensions == 2 ? view.shape[axis] : 0;
  };
  const int64_t H = matrix_size(arrays.weight_hh, 1), I = matrix_size(arrays.weight_ih, 1);
  if (H < 1 || I < 1)
    fail_value("[", name, "] expected weight_ih of shape (G*H, I) and weight_hh of shape (G*H, H) ",
               "with I >= 1 and H >= 1, got ", shape_text(arrays.weight_ih), " and ",
               shape_text(arrays.weight_hh));
  const LayerParameters<const T> from{
      contiguous<const T>({name, "weight_ih", "(G*H, I)", {G * H, I}}, arrays.weight_ih,
                          Access::kRead),
      contiguous<const T>({name, "weight_hh", "(G*H, H)", {G * H, H}}, arrays.weight_hh,
                          Access::kRead),
      contiguous<const T>({name, "bias_ih", "(G*H,)", {G * H}}, arrays.bias_ih, Access::kRead),
      contiguous<const T>({name, "bias_hh", "(G*H,)", {G * H}}, arrays.bias_hh, Access::kRead)};

  const CellKernels<T>& cell_kernels = w.kernels();
  const LayerSizes& s = w.sizes = cell_kernels.sizes(I, H);
  w.memory = Buffer<T>(packed_size(s, backward));
  T* next = w.memory.data();
  const auto take = [&next](int64_t size) { return std::exchange(next, next + size); };
  w.packed = {I, H, take(s.input), take(s.recurrent), take(s.bias), take(s.bias), nullptr, nullptr};
  if (backward) {
    w.packed.input_t = take(s.input_t);
    w.packed.recurrent_t = take(s.recurrent_t);
  }
  run_team(team_size(4.0 * static_cast<double>(w.memory.size()), 0, s.forward_panels),
           [&](const Team& team) { cell_kernels.pack(from, w.packed, team); });
  return w;
}

#define UNROLLED_INSTANTIATE(T)                                      \
  template Precision find_precision<T>(const std::string&);          \
  template FoundCell<T> find_cell<T>(const std::string&, Precision); \
  template Weights<T> pack_weights<T>(const std::string&, const LayerArrays&, Precision, bool);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
