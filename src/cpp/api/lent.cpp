#include "api/lent.hpp"

#include <utility>

#include "api/memory.hpp"

namespace unrolled {
namespace {

// A layer of full precision without its memory.
template <class T>
Weights<T> layer_of(const std::string& cell, int64_t I, int64_t H, int64_t R, bool backward) {
  if (I < 1 || H < 1) fail_value("[", cell, "] expected I >= 1 and H >= 1, got ", I, " and ", H);
  Weights<T> w{};
  w.table = &kernels();
  w.cell = find_cell<T>(cell, Precision::kFull);
  if (R < 1 || R > H || (R < H && !w.info().projects))
    fail_value("[", cell, "] expected 1 <= R <= H of a cell that projects, else R = H, got ", R,
               " and ", H);
  w.backward = backward;
  w.sizes = w.kernels().sizes(I, H, R);
  w.packed.I = I;
  w.packed.H = H;
  w.packed.R = R;
  w.packed.gates = gate_options<T>(w.info(), {});
  return w;
}

template <class T>
std::unique_ptr<Saved<T>> saved_of(const std::shared_ptr<const Weights<T>>& weights,
                                   int64_t T_steps, int64_t B, const ArrayView& lengths,
                                   const ArrayView& resets, bool reverse) {
  auto saved = std::make_unique<Saved<T>>();
  saved->weights = weights;
  saved->T_steps = T_steps;
  saved->B = B;
  saved->plan =
      std::make_unique<RaggedPlan>(weights->info().name, T_steps, B, lengths, resets, reverse);
  saved->recompute = kStoreAll;
  saved->plan->plan_backward(kStoreAll);
  return saved;
}

}  // namespace

template <class T>
LentSizes lent_sizes(const std::string& cell, int64_t I, int64_t H, int64_t R, int64_t T_steps,
                     int64_t B, bool backward) {
  check_countable(I, H, T_steps, B);
  const auto weights = std::make_shared<const Weights<T>>(layer_of<T>(cell, I, H, R, backward));
  const auto saved = saved_of<T>(weights, T_steps, B, {}, {}, false);
  Parts<T> kept;
  place_saved(kept, *saved, true);
  const auto bytes = [](int64_t count) {
    return round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  };
  return {bytes(packed_size(weights->sizes, backward)), bytes(kept.used())};
}

template <class T>
std::shared_ptr<const Weights<T>> lent_weights(const std::string& cell, int64_t I, int64_t H,
                                               int64_t R, bool backward, Buffer<T> memory) {
  auto weights = std::make_shared<Weights<T>>(layer_of<T>(cell, I, H, R, backward));
  place_weights(*weights, std::move(memory));
  return weights;
}

template <class T>
std::unique_ptr<const Saved<T>> lent_saved(const std::shared_ptr<const Weights<T>>& weights,
                                           const ForwardArrays& arrays, Buffer<T> memory) {
  const char* name = weights->info().name;
  const int64_t T_steps = axis(arrays.x, 0), B = axis(arrays.x, 1), I = weights->packed.I;
  check_countable(I, weights->packed.H, T_steps, B);
  auto saved = saved_of<T>(weights, T_steps, B, arrays.lengths, arrays.resets, arrays.reverse);
  saved->x = sequence<const T>({name, "x", "(T, B, I)", {T_steps, B, I}}, arrays.x, Access::kRead);
  saved->memory = allocate_parts<T>([&](Parts<T>& parts) { place_saved(parts, *saved, true); },
                                    std::move(memory));
  return saved;
}

#define UNROLLED_INSTANTIATE(T)                                                                    \
  template LentSizes lent_sizes<T>(const std::string&, int64_t, int64_t, int64_t, int64_t,         \
                                   int64_t, bool);                                                 \
  template std::shared_ptr<const Weights<T>> lent_weights<T>(const std::string&, int64_t, int64_t, \
                                                             int64_t, bool, Buffer<T>);            \
  template std::unique_ptr<const Saved<T>> lent_saved<T>(const std::shared_ptr<const Weights<T>>&, \
                                                         const ForwardArrays&, Buffer<T>);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
