#include "api/sequence.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "api/limits.hpp"
#include "api/memory.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// The letters of a shape whose last axis is that of state k.
const char* state_shape(const CellInfo& info, int k, const char* plain, const char* projected) {
  return k == 0 && info.projects ? projected : plain;
}

// (B, H) states, all or none; `prefix` and the state's name are what an array is called.
template <class T, class W>
void states(const char* prefix, const W& w, const std::vector<ArrayView>& views, int64_t B,
            Access access, T** out) {
  const CellInfo& info = w.info();
  for (int k = 0; k < kMaxStates; ++k) out[k] = nullptr;
  if (views.empty() && access == Access::kRead) return;
  if (static_cast<int>(views.size()) != info.state_count)
    fail_value("[", info.name, "] expected ", info.state_count, " state arrays for cell ",
               info.name, ", got ", views.size());
  for (int k = 0; k < info.state_count; ++k) {
    const std::string name = std::string(prefix) + info.states[k];
    out[k] = contiguous<T>(
        {info.name, name.c_str(), state_shape(info, k, "(B, H)", "(B, R)"), {B, w.state_size(k)}},
        views[static_cast<size_t>(k)], access);
  }
}

// (T, B, H) arrays of the states from number `first` on, all or none.
template <class T, class W>
void step_states(const char* prefix, const W& w, int first, const std::vector<ArrayView>& views,
                 int64_t T_steps, int64_t B, Access access, Sequence<T>* out) {
  const CellInfo& info = w.info();
  if (views.empty()) return;
  if (static_cast<int>(views.size()) != info.state_count - first)
    fail_value("[", info.name, "] expected ", info.state_count - first, " arrays ", prefix, " of ",
               "shape (T, B, H), got ", views.size());
  for (int k = first; k < info.state_count; ++k) {
    const std::string name = std::string(prefix) + " of " + info.states[k];
    out[k] = sequence<T>({info.name,
                          name.c_str(),
                          state_shape(info, k, "(T, B, H)", "(T, B, R)"),
                          {T_steps, B, w.state_size(k)}},
                         views[static_cast<size_t>(k - first)], access);
  }
}

bool rows_in_place(const Plan& plan, int64_t step, int64_t row) {
  return plan.ordered && step == plan.B * row;
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
void pass_empty_rows(const Weights<T>& w, const RaggedPlan& ragged, const T* const* from,
                     T* const* to) {
  const Plan& plan = ragged.view();
  for (int64_t j = plan.B - 1; j >= 0 && ragged.length(j) == 0; --j)
    for (int k = 0; k < w.info().state_count; ++k) {
      const int64_t size = w.state_size(k);
      const size_t bytes = static_cast<size_t>(size) * sizeof(T);
      T* row = to[k] + plan.order[j] * size;
      if (from[k] != nullptr)
        std::memcpy(row, from[k] + plan.order[j] * size, bytes);
      else
        std::memset(row, 0, bytes);
    }
}

// The tokens (T, B) in the order of the plan's rows, after a check.
Buffer<int64_t> checked_tokens(const char* function, const ArrayView& view, int64_t V,
                               const Plan& plan) {
  const int64_t T_steps = view.shape[0], B = view.shape[1];
  const int64_t* given =
      contiguous<const int64_t>({function, "tokens", "(T, B)", {T_steps, B}}, view, Access::kRead);
  Buffer<int64_t> tokens(plan.tokens);
  for (int64_t t = 0; t < plan.T; ++t)
    for (int64_t j = 0; j < plan.live[t]; ++j) {
      const int64_t token = given[t * B + plan.order[j]];
      if (token < 0 || token >= V)
        fail_value("[", function, "] expected tokens in 0 .. ", V - 1, ", got ", token, " at step ",
                   t, ", row ", plan.order[j]);
      tokens.data()[plan.offset[t] + j] = token;
    }
  return tokens;
}

}  // namespace

template <class T>
std::unique_ptr<Saved<T>> run_forward(const std::shared_ptr<const Weights<T>>& weights,
                                      const ForwardArrays& arrays, bool save, int64_t recompute,
                                      Buffer<T> memory) {
  const Weights<T>& w = *weights;
  const CellInfo& info = w.info();
  const char* name = info.name;
  const int64_t I = w.packed.I, H = w.packed.H, R = w.packed.R, S = info.state_count;
  if (w.table != &kernels())
    fail_value("[", name, "] expected weights packed for isa ", kernels().isa, ", got ",
               w.table->isa);
  if (save && !w.backward)
    fail_value("[", name, "] expected weights packed with backward=True, got backward=False");
  const bool looked_up = arrays.tokens.present;
  const ArrayView& shaped = looked_up ? arrays.tokens : arrays.x;
  if (looked_up && info.normalises)
    fail_value("[", name, "] expected x of shape (T, B, I): a normalised cell looks nothing up");
  if (arrays.x.dimensions != (looked_up ? 2 : 3) || shaped.dimensions < 2)
    fail_value("[", name, "] expected x of shape (T, B, I), or tokens of shape (T, B) and a table ",
               "of shape (V, I), got ", shape_text(arrays.x));
  const int64_t T_steps = shaped.shape[0], B = shaped.shape[1];
  check_countable(I, H, T_steps, B);

  ForwardArgs<T> args{};
  args.weights = &w.packed;
  if (!looked_up)
    args.x = sequence<const T>({name, "x", "(T, B, I)", {T_steps, B, I}}, arrays.x, Access::kRead);
  args.y[0] =
      sequence<T>({name, "out", state_shape(info, 0, "(T, B, H)", "(T, B, R)"), {T_steps, B, R}},
                  arrays.y, Access::kWrite);
  step_states<T>("steps", w, 1, arrays.others, T_steps, B, Access::kWrite, args.y);
  step_states<const T>("update", w, 0, arrays.updates, T_steps, B, Access::kRead, args.update);
  states<const T>("state ", w, arrays.initial, B, Access::kRead, args.initial);
  states<T>("state ", w, arrays.final, B, Access::kWrite, args.final);

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
  check_cell_clip(info, arrays.cell_clip);
  args.cell_limit = static_cast<T>(arrays.cell_clip);
  saved->cell_clip = arrays.cell_clip;
  check_factors(info, arrays.factors.present);
  args.factors =
      arrays.factors.present
          ? contiguous<const T>(
                {name, "recurrent_factors", state_shape(info, 0, "(B, H)", "(B, R)"), {B, R}},
                arrays.factors, Access::kRead)
          : nullptr;
  saved->factors = args.factors;
  saved->x = args.x;
  saved->lookup = args.lookup;
  std::copy(args.update, args.update + kMaxStates, saved->update);
  for (int k = 0; k < info.state_count && !plan.ordered; ++k)
    if (args.y[k].data != nullptr)
      clear_dead_rows(args.y[k], T_steps, *saved->plan, w.state_size(k));
  pass_empty_rows(w, *saved->plan, args.initial, args.final);

  args.chunk_tokens = kChunkTokens;
  args.chunk_rows = saved->plan->chunk_rows();
  if (save) {
    saved->recompute = recompute;
    saved->plan->plan_backward(recompute);
    saved->memory = allocate_parts<T>(
        [&](Parts<T>& parts) { place_saved(parts, *saved, args.initial[0] != nullptr); },
        std::move(memory));
    args.keep_states = plan.window_count == 0;
    for (int64_t k = 0; k < S; ++k) {
      args.states[k] = saved->states[k];
      args.entering[k] = saved->entering[k];
      if (saved->initial[k] != nullptr)
        std::copy(args.initial[k], args.initial[k] + B * w.state_size(static_cast<int>(k)),
                  saved->initial[k]);
    }
    args.multiplied = saved->multiplied;
    args.saved = saved->values;
    args.saved_rows = saved->saved_rows;
    args.moments = saved->moments;
  }
  const Sharing sharing = share_forward(w, plan);
  args.by_rows = sharing.by_rows;
  const bool gathered = !looked_up && !rows_in_place(plan, args.x.step, args.x.row);
  const Buffer<T> scratch =
      allocate_parts<T>([&](Parts<T>& parts) { place_forward(parts, w, args, sharing, gathered); });
  if (plan.T > 0) {
    const auto kernel = w.kernels().forward;
    run_team(sharing.team_size, [&](const Team& team) { kernel(args, team); });
  }
  return save ? std::move(saved) : nullptr;
}

template <class T>
void run_backward(const Saved<T>& saved, const BackwardArrays& arrays) {
  const Weights<T>& w = *saved.weights;
  const CellInfo& info = w.info();
  const char* name = info.name;
  const int64_t I = w.packed.I, H = w.packed.H, R = w.packed.R, S = info.state_count;
  const int64_t T_steps = saved.T_steps, B = saved.B;
  const Plan& plan = saved.plan->view();

  BackwardArgs<T> args{};
  args.weights = &w.packed;
  args.plan = &plan;
  args.x = saved.x;
  args.lookup = saved.lookup;
  const bool looked_up = args.lookup.tokens != nullptr;
  args.dy[0] = sequence<const T>(
      {name, "dy", state_shape(info, 0, "(T, B, H)", "(T, B, R)"), {T_steps, B, R}}, arrays.dy,
      Access::kRead);
  step_states<const T>("dsteps", w, 1, arrays.dothers, T_steps, B, Access::kRead, args.dy);
  std::copy(saved.update, saved.update + kMaxStates, args.update);
  if (looked_up)
    args.dx = {
        contiguous<T>({name, "dtable", "(V, I)", {args.lookup.V, I}}, arrays.dx, Access::kWrite), 0,
        I};
  else
    args.dx = sequence<T>({name, "dx", "(T, B, I)", {T_steps, B, I}}, arrays.dx, Access::kWrite);
  args.accumulate_dx = arrays.accumulate_dx;
  check_clip_gradient(info, arrays.clip_value, arrays.clip_norm);
  args.clip_value = static_cast<T>(arrays.clip_value);
  args.clip_norm = static_cast<T>(arrays.clip_norm);
  states<const T>("dstate ", w, arrays.dfinal, B, Access::kRead, args.dfinal);
  states<T>("dstate ", w, arrays.dinitial, B, Access::kWrite, args.dinitial);
  args.grads = layer_parameters<T>(info, arrays.grads, I, H, R, Access::kWrite);
  if (args.dx.data != nullptr && !args.accumulate_dx) {
    if (looked_up)
      std::fill(args.dx.data, args.dx.data + args.lookup.V * I, T(0));
    else if (!plan.ordered)
      clear_dead_rows(args.dx, T_steps, *saved.plan, I);
  }
  pass_empty_rows(w, *saved.plan, args.dfinal, args.dinitial);
  if (plan.T == 0) return;

  const Sharing sharing = share_backward(w, plan);
  args.by_rows = sharing.by_rows;
  args.chunk_rows = saved.plan->chunk_rows();
  args.saved = saved.values;
  args.saved_rows = saved.saved_rows;
  args.moments = saved.moments;
  ForwardArgs<T> again{};
  args.cell_limit = again.cell_limit = static_cast<T>(saved.cell_clip);
  args.factors = again.factors = saved.factors;
  args.multiplied = again.multiplied = saved.multiplied;
  again.weights = args.weights;
  again.plan = args.plan;
  again.x = saved.x;
  again.lookup = saved.lookup;
  std::copy(saved.update, saved.update + kMaxStates, again.update);
  again.chunk_tokens = kChunkTokens;
  again.chunk_rows = args.chunk_rows;
  for (int64_t k = 0; k < S; ++k) {
    args.states[k] = again.states[k] = saved.states[k];
    again.entering[k] = saved.entering[k];
    again.initial[k] = saved.initial[k];
  }
  const Buffer<T> scratch = allocate_parts<T>(
      [&](Parts<T>& parts) { place_backward(parts, saved, args, again, sharing); });
  if (saved.recompute != kStoreAll) {
    args.again = &again;
    for (int64_t k = 0; k < S; ++k) args.states[k] = again.states[k];
    args.multiplied = again.multiplied;
    args.saved = again.saved;
    args.saved_rows = again.saved_rows;
    args.moments = again.moments;
  }
  const auto kernel = w.kernels().backward;
  run_team(sharing.team_size, [&](const Team& team) { kernel(args, team); });
}

#define UNROLLED_INSTANTIATE(T)                                                                  \
  template std::unique_ptr<Saved<T>> run_forward<T>(                                             \
      const std::shared_ptr<const Weights<T>>&, const ForwardArrays&, bool, int64_t, Buffer<T>); \
  template void run_backward<T>(const Saved<T>&, const BackwardArrays&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
