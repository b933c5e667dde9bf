#include "api/memory.hpp"

#include <new>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

template <class T>
double layer_flops(const Weights<T>& w, int64_t tokens) {
  const double H = static_cast<double>(w.packed.H), R = static_cast<double>(w.packed.R);
  const double K = static_cast<double>(w.packed.I) + (w.info().recurrent ? R : 0.0);
  const double second = w.info().projects ? R : 0.0;
  return 2.0 * H * (w.info().gate_count * K + second) * static_cast<double>(tokens);
}

template <class T>
int64_t state_stride(const Weights<T>& w) {
  return padded_stride<T>(w.sizes.state_width);
}
template <class T>
int64_t gate_stride(const Weights<T>& w) {
  return padded_stride<T>(w.sizes.gate_width);
}

// Members that share rows need not meet after every step, nor send their states to each other, but
// each reads all weights: from its own cache, or often enough for one reading.
template <class T>
Sharing share_scan(const Weights<T>& w, const Plan& plan, double flops, int64_t panels) {
  constexpr int64_t kCached = 1 << 20, kCachedRows = 8, kFarRows = 32;
  const int64_t bytes =
      (w.sizes.input + w.sizes.recurrent + w.sizes.second) * static_cast<int64_t>(sizeof(T));
  const int64_t rows = bytes <= kCached ? kCachedRows : kFarRows;
  if (plan.B >= 2 * rows) {
    const int size = team_size(flops, plan.tokens / kChunkTokens, plan.B / rows);
    if (size > 1) return {size, true};
  }
  return {team_size(flops, plan.T, panels), false};
}

}  // namespace

void check_countable(int64_t I, int64_t H, int64_t T, int64_t B) {
  // Scratch has rows for each of up to 1024 threads, and no row is wider than this, padding and all
  // gates included.
  const auto real = [](int64_t count) { return static_cast<double>(count); };
  const double rows = real(T) * real(B) + 1024.0 * (real(B) + kChunkTokens);
  const double width = 16.0 * (real(I) + real(H) + 128.0);
  if ((rows + width) * width > 0x1p60) throw std::bad_alloc();
}

template <class T>
Sharing share_forward(const Weights<T>& w, const Plan& plan) {
  return share_scan(w, plan, layer_flops(w, plan.tokens), w.sizes.forward_panels);
}
template <class T>
Sharing share_backward(const Weights<T>& w, const Plan& plan) {
  return share_scan(w, plan, 2 * layer_flops(w, plan.tokens), w.sizes.backward_panels);
}

// Scratch for `size` elements of recurrent columns in parts: where the steps pay for making them,
// and a thread's stay in its L2.
template <class T>
int64_t parts_size(const Weights<T>& w, const Plan& plan, const Sharing& sharing, int64_t size) {
  constexpr int64_t kSteps = 8, kMost = (1600 << 10) / sizeof(float);
  const int64_t own = sharing.by_rows ? size : size / sharing.team_size;
  return plan.T >= kSteps && plan.B >= w.sizes.least_rows && own <= kMost ? size : 0;
}

template <class T>
void place_saved(Parts<T>& parts, Saved<T>& saved, bool given_initial) {
  const Weights<T>& w = *saved.weights;
  const Plan& plan = saved.plan->view();
  const bool windows = plan.window_count > 0;
  for (int k = 0; k < w.info().state_count; ++k) {
    const int64_t stride = state_stride(w);
    saved.states[k] = {parts.take(windows ? 0 : (plan.tokens + plan.B) * stride), stride};
    saved.entering[k] = {parts.take(plan.window_count * plan.B * stride), stride};
    saved.initial[k] = parts.take(windows && given_initial ? plan.B * w.state_size(k) : 0);
  }
  saved.multiplied = saved.states[0];
  if (saved.factors != nullptr)
    saved.multiplied.data = parts.take(windows ? 0 : (plan.tokens + plan.B) * state_stride(w));
  saved.saved_rows = saved.recompute == kStoreAll ? plan.tokens : 0;
  saved.values = parts.take(saved.saved_rows * w.sizes.saved_width);
  saved.moments = parts.take(saved.saved_rows * w.sizes.moment_count);
}

template <class T>
void place_forward(Parts<T>& parts, const Weights<T>& w, ForwardArgs<T>& args,
                   const Sharing& sharing, bool gathered) {
  const int team_size = sharing.team_size;
  const int64_t rows = args.lookup.tokens != nullptr ? args.lookup.V : args.chunk_rows;
  args.gates = {parts.take(rows * gate_stride(w)), gate_stride(w)};
  args.gathered = parts.take(gathered ? team_size * args.chunk_rows * w.packed.I : 0);
  args.operand_rows = whole_operands(args.chunk_rows);
  args.operands = parts.take(
      team_size * operand_size(w.sizes, args.operand_rows, w.sizes.operand_width, args.plan->B));
  args.parts = parts.take(parts_size(w, *args.plan, sharing, w.sizes.recurrent_parts));
  const int64_t middle = padded_stride<T>(w.sizes.middle_width);
  args.middle = {parts.take(args.chunk_rows * middle), middle};
  args.hold = parts.take(args.chunk_rows * w.sizes.hold_width);
  if (args.keep_states) return;
  for (int k = 0; k < w.info().state_count; ++k)
    args.states[k] = {parts.take(2 * args.plan->B * state_stride(w)), state_stride(w)};
  args.multiplied = args.states[0];
  if (args.factors != nullptr)
    args.multiplied.data = parts.take(2 * args.plan->B * state_stride(w));
}

template <class T>
void place_backward(Parts<T>& parts, const Saved<T>& saved, BackwardArgs<T>& args,
                    ForwardArgs<T>& again, const Sharing& sharing) {
  const int team_size = sharing.team_size;
  const Weights<T>& w = *saved.weights;
  const Plan& plan = saved.plan->view();
  const int64_t chunk = args.chunk_rows * gate_stride(w);
  const auto take_rows = [&](int64_t rows, int64_t width) -> Rows<T> {
    const int64_t stride = padded_stride<T>(width);
    return {parts.take(rows * stride), stride};
  };
  const bool second = w.sizes.second_width > 0, normalised = w.sizes.scaled_width > 0;
  for (int i = 0; i < 2; ++i) {
    args.dinput[i] = {parts.take(chunk), gate_stride(w)};
    args.dunit[i] = {parts.take(normalised ? 0 : args.chunk_rows * w.sizes.unit), w.sizes.unit};
    args.drecurrent[i] =
        w.sizes.split_width > 0 ? take_rows(args.chunk_rows, w.sizes.split_width) : args.dinput[i];
    args.middle[i] = take_rows(second ? args.chunk_rows : 0, w.sizes.middle_width);
    args.dsecond[i] = take_rows(args.chunk_rows, w.sizes.second_width);
    args.dscaled[i] = take_rows(args.chunk_rows, w.sizes.scaled_width);
  }
  args.dmiddle = take_rows(second ? plan.B : 0, w.sizes.middle_width);
  for (int k = 0; k < w.info().state_count; ++k)
    args.carry[k] = {parts.take(plan.B * state_stride(w)), state_stride(w)};
  if (args.factors != nullptr) args.through = take_rows(plan.B, w.sizes.state_width);
  const int64_t panel = kernels_of<T>(*w.table).panel, panels = (w.packed.R + panel - 1) / panel;
  constexpr int64_t words = sizeof(double) / sizeof(T);
  const bool norm = args.clip_norm < static_cast<T>(kUnlimited);
  args.squares = {reinterpret_cast<double*>(parts.take(norm ? plan.B * panels * words : 0)),
                  panels};
  args.outer = parts.take(team_size * kernels_of<T>(*w.table).outer_scratch);
  args.gathered = parts.take(team_size * args.chunk_rows * w.packed.I);
  args.operand_rows = whole_operands(args.chunk_rows);
  args.operands = parts.take(
      team_size * operand_size(w.sizes, args.operand_rows, w.sizes.gradient_width, plan.B));
  args.parts = parts.take(parts_size(w, plan, sharing, w.sizes.recurrent_t_parts));
  args.dlookup = {parts.take(args.lookup.V * gate_stride(w)), gate_stride(w)};
  if (saved.recompute == kStoreAll) return;

  const bool windows = plan.window_count > 0;
  again.keep_states = true;
  place_forward(parts, w, again, {team_size, false}, false);
  again.gathered = args.gathered;  // the two passes do not use it at the same time
  const int64_t window = (saved.plan->window_rows() + plan.B) * state_stride(w);
  for (int k = 0; windows && k < w.info().state_count; ++k)
    again.states[k] = {parts.take(window), state_stride(w)};
  if (windows)
    again.multiplied =
        args.factors == nullptr ? again.states[0] : Rows<T>{parts.take(window), state_stride(w)};
  again.saved_rows = windows ? saved.plan->window_rows() : saved.plan->chunk_rows();
  again.saved = parts.take(again.saved_rows * w.sizes.saved_width);
  again.moments = parts.take(again.saved_rows * w.sizes.moment_count);
}

template <class T>
ScanMemory scan_memory(const ScanQuery& query) {
  if (query.I < 1 || query.H < 1 || query.T < 0 || query.B < 0)
    fail_value("[memory] expected I >= 1, H >= 1, T >= 0 and B >= 0, got ", query.I, ", ", query.H,
               ", ", query.T, " and ", query.B);
  check_countable(query.I, query.H, query.T, query.B);
  const KernelTable& table = kernels();
  auto weights = std::make_shared<Weights<T>>();
  weights->table = &table;
  weights->cell = find_cell<T>(query.cell, find_precision<T>(query.precision));
  weights->packed.I = query.I;
  weights->packed.H = query.H;
  weights->packed.R = query.R;
  if (query.R < 1 || query.R > query.H || (query.R < query.H && !weights->info().projects))
    fail_value("[memory] expected R ", weights->info().projects ? "in 1 .. H" : "= H", " = ",
               query.H, ", got ", query.R);
  weights->sizes = weights->kernels().sizes(query.I, query.H, query.R);
  Saved<T> saved;
  saved.weights = weights;
  saved.plan = std::make_unique<RaggedPlan>("memory", query.T, query.B, query.lengths, ArrayView{},
                                            query.reverse);
  saved.recompute = query.recompute;
  const T counted = 1;  // what is only counted is not read
  saved.factors = query.factors ? &counted : nullptr;
  saved.plan->plan_backward(query.recompute);
  const Plan& plan = saved.plan->view();

  Parts<T> kept, forward, backward;
  place_saved(kept, saved, true);
  ForwardArgs<T> args{}, again{};
  args.plan = again.plan = &plan;
  args.factors = again.factors = saved.factors;
  args.chunk_rows = again.chunk_rows = saved.plan->chunk_rows();
  args.keep_states = plan.window_count == 0;
  place_forward(forward, *weights, args, share_forward(*weights, plan), !plan.ordered);
  BackwardArgs<T> back{};
  back.factors = saved.factors;
  back.clip_norm = query.clips_norm ? T(1) : back.clip_norm;
  back.chunk_rows = saved.plan->chunk_rows();
  place_backward(backward, saved, back, again, share_backward(*weights, plan));
  const auto bytes = [](int64_t count) { return count * static_cast<int64_t>(sizeof(T)); };
  return {bytes(packed_size(weights->sizes, true)), bytes(kept.used()), bytes(forward.used()),
          plan.T == 0 ? 0 : bytes(backward.used())};
}

#define UNROLLED_INSTANTIATE(T)                                                                  \
  template Sharing share_forward<T>(const Weights<T>&, const Plan&);                             \
  template Sharing share_backward<T>(const Weights<T>&, const Plan&);                            \
  template void place_saved<T>(Parts<T>&, Saved<T>&, bool);                                      \
  template void place_forward<T>(Parts<T>&, const Weights<T>&, ForwardArgs<T>&, const Sharing&,  \
                                 bool);                                                          \
  template void place_backward<T>(Parts<T>&, const Saved<T>&, BackwardArgs<T>&, ForwardArgs<T>&, \
                                  const Sharing&);                                               \
  template ScanMemory scan_memory<T>(const ScanQuery&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
