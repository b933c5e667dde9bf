#include "api/sequence.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// Tokens that the products outside the recurrence take at a time: enough rows for full speed, few
// enough for their scratch to stay in the cache.
constexpr int64_t kChunkTokens = 256;

constexpr const char* kStateNames[] = {"state h", "state c"};
constexpr const char* kGradientNames[] = {"dstate h", "dstate c"};

// A (T, B, width) argument with unit last stride.
template <class T>
Sequence<T> sequence(const Expected& expected, const ArrayView& view, Access access) {
  if (!view.present) return {nullptr, 0, 0};
  check_kind(expected, view, kKindOf<std::remove_const_t<T>>);
  check_shape(expected, view);
  check_rows(expected, view);
  if (access == Access::kWrite) check_writable(expected, view);
  // An axis of length 1 may have any stride in NumPy; give it the one that rows in place have.
  const int64_t width = view.shape[2];
  const int64_t row = view.shape[1] > 1   ? view.strides[1]
                      : view.shape[0] > 1 ? view.strides[0]
                                          : width;
  const int64_t step = view.shape[0] > 1 ? view.strides[0] : view.shape[1] * row;
  return {static_cast<T*>(view.data), step, row};
}

// (B, H) states, all or none.
template <class T>
void states(const char* function, const char* const* names, const CellInfo& info,
            const std::vector<ArrayView>& views, int64_t B, int64_t H, Access access, T** out) {
  for (int k = 0; k < kMaxStates; ++k) out[k] = nullptr;
  if (views.empty() && access == Access::kRead) return;
  if (static_cast<int>(views.size()) != info.state_count)
    fail_value("[", function, "] expected ", info.state_count, " state arrays for cell ", info.name,
               ", got ", views.size());
  for (int k = 0; k < info.state_count; ++k)
    out[k] = contiguous<T>({function, names[k], "(B, H)", {B, H}}, views[static_cast<size_t>(k)],
                           access);
}

bool rows_in_place(const Plan& plan, int64_t step, int64_t row) {
  return plan.ordered && step == plan.B * row;
}

int64_t longest_step(const Plan& plan) {
  return plan.T == 0 ? 0 : plan.live[0];  // rows are ordered by length: step 0 has the most
}

int64_t chunk_rows(const Plan& plan) {
  return std::min(plan.tokens, kChunkTokens + longest_step(plan));
}

template <class T>
double layer_flops(const Weights<T>& w, int64_t tokens) {
  return 2.0 * w.info().gate_count * static_cast<double>(w.packed.H) *
         static_cast<double>(w.packed.I + w.packed.H) * static_cast<double>(tokens);
}

// Zeros the rows of (T, B, width) where no token is.
template <class T>
void clear_dead_rows(const Sequence<T>& to, int64_t T_steps, const RaggedPlan& ragged,
                     int64_t width) {
  const Plan& plan = ragged.view();
  for (int64_t j = 0; j < plan.B; ++j)
    for (int64_t t = ragged.length(j); t < T_steps; ++t)
      std::memset(to.data + t * to.step + plan.order[j] * to.row, 0,
                  static_cast<size_t>(width) * sizeof(T));
}

// Rows without a step hand their states (or gradients) straight through.
template <class T>
void pass_empty_rows(const CellInfo& info, const RaggedPlan& ragged, int64_t H,
                     const T* const* from, T* const* to) {
  const Plan& plan = ragged.view();
  const size_t bytes = static_cast<size_t>(H) * sizeof(T);
  for (int64_t j = plan.B - 1; j >= 0 && ragged.length(j) == 0; --j)
    for (int k = 0; k < info.state_count; ++k) {
      T* row = to[k] + plan.order[j] * H;
      if (from[k] != nullptr)
        std::memcpy(row, from[k] + plan.order[j] * H, bytes);
      else
        std::memset(row, 0, bytes);
    }
}

// A copy of tokens (T, B) after a check of those that are live.
Buffer<int64_t> checked_tokens(const char* function, const ArrayView& view, int64_t V,
                               const Plan& plan) {
  const int64_t T_steps = view.shape[0], B = view.shape[1];
  const int64_t* given =
      contiguous<const int64_t>({function, "tokens", "(T, B)", {T_steps, B}}, view, Access::kRead);
  for (int64_t t = 0; t < plan.T; ++t)
    for (int64_t j = 0; j < plan.live[t]; ++j) {
      const int64_t token = given[t * B + plan.order[j]];
      if (token < 0 || token >= V)
        fail_value("[", function, "] expected tokens in 0 .. ", V - 1, ", got ", token, " at step ",
                   t, ", row ", plan.order[j]);
    }
  Buffer<int64_t> tokens(T_steps * B);
  std::copy(given, given + T_steps * B, tokens.data());
  return tokens;
}

std::string cell_names(const KernelTable& table) {
  std::string names;
  for (int i = 0; i < table.cell_count; ++i) {
    if (i > 0) names += ", ";
    names += table.cells[i].name;
  }
  return names;
}

}  // namespace

int find_cell(const std::string& name) {
  const KernelTable& table = kernels();
  for (int i = 0; i < table.cell_count; ++i)
    if (name == table.cells[i].name) return i;
  fail_value("[cell] expected one of ", cell_names(table), ", got '", name, "'");
}

template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, bool backward) {
  const KernelTable& table = kernels();
  Weights<T> w{};
  w.table = &table;
  w.cell = find_cell(cell);
  w.backward = backward;
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

  const CellKernels<T>& cell_kernels = kernels_of<T>(table).cells[w.cell];
  const LayerSizes& s = w.sizes = cell_kernels.sizes(I, H);
  w.memory =
      Buffer<T>(s.input + s.recurrent + 2 * s.bias + (backward ? s.input_t + s.recurrent_t : 0));
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

RaggedPlan::RaggedPlan(const char* function, int64_t T, int64_t B, const ArrayView& lengths,
                       const ArrayView& resets, bool reverse)
    : order_(static_cast<size_t>(B)), lengths_(static_cast<size_t>(B), T) {
  std::iota(order_.begin(), order_.end(), int64_t{0});
  bool full = true;
  if (lengths.present) {
    const int64_t* given =
        contiguous<const int64_t>({function, "lengths", "(B,)", {B}}, lengths, Access::kRead);
    for (int64_t b = 0; b < B; ++b)
      if (given[b] < 0 || given[b] > T)
        fail_value("[", function, "] expected lengths in 0 .. T = ", T, ", got ", given[b],
                   " for row ", b);
    std::stable_sort(order_.begin(), order_.end(),
                     [given](int64_t a, int64_t b) { return given[a] > given[b]; });
    for (size_t j = 0; j < order_.size(); ++j) {
      lengths_[j] = given[order_[j]];
      full = full && lengths_[j] == T;
    }
  }
  const int64_t steps = B == 0 ? 0 : lengths_[0];
  live_.resize(static_cast<size_t>(steps));
  offset_.assign(static_cast<size_t>(steps) + 1, 0);
  int64_t live = B;
  for (int64_t t = 0; t < steps; ++t) {
    while (live > 0 && lengths_[static_cast<size_t>(live) - 1] <= t) --live;
    live_[static_cast<size_t>(t)] = live;
    offset_[static_cast<size_t>(t) + 1] = offset_[static_cast<size_t>(t)] + live;
  }
  if (resets.present) {
    const Expected expected{function, "resets", "(T, B)", {T, B}};
    const uint8_t* given = contiguous<const uint8_t>(expected, resets, Access::kRead);
    resets_.assign(given, given + T * B);
  }
  plan_ = {steps,
           B,
           offset_.back(),
           live_.data(),
           offset_.data(),
           order_.data(),
           resets_.empty() ? nullptr : resets_.data(),
           B,
           reverse,
           full};
}

template <class T>
std::unique_ptr<Saved<T>> run_forward(const std::shared_ptr<const Weights<T>>& weights,
                                      const ForwardArrays& arrays, bool save) {
  const Weights<T>& w = *weights;
  const CellInfo& info = w.info();
  const char* name = info.name;
  const int64_t I = w.packed.I, H = w.packed.H, S = info.state_count;
  if (w.table != &kernels())
    fail_value("[", name, "] expected weights packed for isa ", kernels().isa, ", got ",
               w.table->isa);
  if (save && !w.backward)
    fail_value("[", name, "] expected weights packed with backward=True, got backward=False");
  const bool looked_up = arrays.tokens.present;
  const ArrayView& shaped = looked_up ? arrays.tokens : arrays.x;
  if (arrays.x.dimensions != (looked_up ? 2 : 3) || shaped.dimensions < 2)
    fail_value("[", name, "] expected x of shape (T, B, I), or tokens of shape (T, B) and a table ",
               "of shape (V, I), got ", shape_text(arrays.x));
  const int64_t T_steps = shaped.shape[0], B = shaped.shape[1];

  ForwardArgs<T> args{};
  args.weights = &w.packed;
  if (!looked_up)
    args.x = sequence<const T>({name, "x", "(T, B, I)", {T_steps, B, I}}, arrays.x, Access::kRead);
  args.y = sequence<T>({name, "out", "(T, B, H)", {T_steps, B, H}}, arrays.y, Access::kWrite);
  states<const T>(name, kStateNames, info, arrays.initial, B, H, Access::kRead, args.initial);
  states<T>(name, kStateNames, info, arrays.final, B, H, Access::kWrite, args.final);

  auto saved = std::make_unique<Saved<T>>();
  saved->weights = weights;
  saved->T_steps = T_steps;
  saved->B = B;
  saved->plan =
      std::make_unique<RaggedPlan>(name, T_steps, B, arrays.lengths, arrays.resets, arrays.reverse);
  const Plan& plan = saved->plan->view();
  args.plan = &plan;
  if (looked_up) {
    const int64_t V = arrays.x.shape[0];
    saved->tokens = checked_tokens(name, arrays.tokens, V, plan);
    args.lookup = {saved->tokens.data(),
                   contiguous<const T>({name, "table", "(V, I)", {V, I}}, arrays.x, Access::kRead),
                   V};
  }
  saved->x = args.x;
  saved->lookup = args.lookup;
  if (!plan.ordered) clear_dead_rows(args.y, T_steps, *saved->plan, H);
  pass_empty_rows(info, *saved->plan, H, args.initial, args.final);

  const int64_t state_rows = save ? plan.tokens + B : 2 * B;
  saved->state_stride = padded_stride<T>(w.sizes.state_width);
  for (int64_t k = 0; k < S; ++k) {
    saved->states[k] = Buffer<T>(state_rows * saved->state_stride);
    args.states[k] = {saved->states[k].data(), saved->state_stride};
  }
  if (save) saved->values = Buffer<T>(plan.tokens * w.sizes.saved_width);
  args.saved = saved->values.data();

  const int size = team_size(layer_flops(w, plan.tokens), plan.T, w.sizes.forward_panels);
  const int64_t gate_stride = padded_stride<T>(w.sizes.gate_width);
  args.chunk_tokens = kChunkTokens;
  args.chunk_rows = chunk_rows(plan);
  Buffer<T> gates((looked_up ? args.lookup.V : args.chunk_rows) * gate_stride);
  const bool in_place = looked_up || rows_in_place(plan, args.x.step, args.x.row);
  Buffer<T> gathered(in_place ? 0 : size * args.chunk_rows * I);
  args.gates = {gates.data(), gate_stride};
  args.gathered = gathered.data();
  if (plan.T > 0) {
    const auto kernel = kernels_of<T>(*w.table).cells[w.cell].forward;
    run_team(size, [&](const Team& team) { kernel(args, team); });
  }
  return save ? std::move(saved) : nullptr;
}

template <class T>
void run_backward(const Saved<T>& saved, const BackwardArrays& arrays) {
  const Weights<T>& w = *saved.weights;
  const CellInfo& info = w.info();
  const char* name = info.name;
  const int64_t I = w.packed.I, H = w.packed.H, G = info.gate_count, S = info.state_count;
  const int64_t T_steps = saved.T_steps, B = saved.B;
  const Plan& plan = saved.plan->view();

  BackwardArgs<T> args{};
  args.weights = &w.packed;
  args.plan = &plan;
  args.x = saved.x;
  args.lookup = saved.lookup;
  const bool looked_up = args.lookup.tokens != nullptr;
  args.dy = sequence<const T>({name, "dy", "(T, B, H)", {T_steps, B, H}}, arrays.dy, Access::kRead);
  if (looked_up)
    args.dx = {
        contiguous<T>({name, "dtable", "(V, I)", {args.lookup.V, I}}, arrays.dx, Access::kWrite), 0,
        I};
  else
    args.dx = sequence<T>({name, "dx", "(T, B, I)", {T_steps, B, I}}, arrays.dx, Access::kWrite);
  args.accumulate_dx = arrays.accumulate_dx;
  states<const T>(name, kGradientNames, info, arrays.dfinal, B, H, Access::kRead, args.dfinal);
  states<T>(name, kGradientNames, info, arrays.dinitial, B, H, Access::kWrite, args.dinitial);
  const auto gradient = [&](const char* what, const char* letters,
                            std::initializer_list<int64_t> shape, const ArrayView& view) {
    return contiguous<T>({name, what, letters, shape}, view, Access::kWrite);
  };
  const LayerArrays& g = arrays.grads;
  args.grads = {gradient("dweight_ih", "(G*H, I)", {G * H, I}, g.weight_ih),
                gradient("dweight_hh", "(G*H, H)", {G * H, H}, g.weight_hh),
                gradient("dbias_ih", "(G*H,)", {G * H}, g.bias_ih),
                gradient("dbias_hh", "(G*H,)", {G * H}, g.bias_hh)};
  if (args.dx.data != nullptr && !args.accumulate_dx) {
    if (looked_up)
      std::fill(args.dx.data, args.dx.data + args.lookup.V * I, T(0));
    else if (!plan.ordered)
      clear_dead_rows(args.dx, T_steps, *saved.plan, I);
  }
  pass_empty_rows(info, *saved.plan, H, args.dfinal, args.dinitial);
  if (plan.T == 0) return;

  for (int64_t k = 0; k < S; ++k)
    args.states[k] = {const_cast<T*>(saved.states[k].data()), saved.state_stride};
  args.saved = saved.values.data();

  const int size = team_size(2 * layer_flops(w, plan.tokens), plan.T, w.sizes.backward_panels);
  args.chunk_tokens = kChunkTokens;
  args.chunk_rows = chunk_rows(plan);
  const int64_t gate_stride = padded_stride<T>(w.sizes.gate_width);
  const int64_t chunk = args.chunk_rows * gate_stride;
  const bool split = w.sizes.split_width > 0;
  Buffer<T> gradients((split ? 4 : 2) * chunk), carry(S * B * saved.state_stride),
      outer(size * kernels_of<T>(*w.table).outer_scratch), gathered(size * args.chunk_rows * I),
      dlookup(args.lookup.V * gate_stride);
  args.dlookup = {dlookup.data(), gate_stride};
  for (int i = 0; i < 2; ++i) {
    args.dinput[i] = {gradients.data() + i * chunk, gate_stride};
    args.drecurrent[i] = {gradients.data() + (split ? i + 2 : i) * chunk, gate_stride};
  }
  for (int64_t k = 0; k < S; ++k)
    args.carry[k] = {carry.data() + k * B * saved.state_stride, saved.state_stride};
  args.gathered = gathered.data();
  args.outer = outer.data();
  const auto kernel = kernels_of<T>(*w.table).cells[w.cell].backward;
  run_team(size, [&](const Team& team) { kernel(args, team); });
}

#define UNROLLED_INSTANTIATE(T)                                                               \
  template Weights<T> pack_weights<T>(const std::string&, const LayerArrays&, bool);          \
  template std::unique_ptr<Saved<T>> run_forward<T>(const std::shared_ptr<const Weights<T>>&, \
                                                    const ForwardArrays&, bool);              \
  template void run_backward<T>(const Saved<T>&, const BackwardArrays&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
