#include "api/stream.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "api/limits.hpp"
#include "api/memory.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// A (B, width) argument with unit last stride, as a sequence of one step.
template <class T>
Sequence<T> one_step(const Expected& expected, const ArrayView& view, Access access) {
  check_kind(expected, view, kKindOf<std::remove_const_t<T>>);
  check_shape(expected, view);
  check_rows(expected, view);
  if (access == Access::kWrite) check_writable(expected, view);
  const int64_t B = view.shape[0], row = B > 1 ? view.strides[0] : view.shape[1];
  return {static_cast<T*>(view.data), B * row, row};
}

// Packed weights of a member of this size or more may not all stay in its L2 from step to step.
constexpr int64_t kFarBytes = 512 * 1024;

// Whether the recurrent product of a cell can be made before the input's: there is one, and
// `middle` is free for it. See kProductAhead in kernels/forward.hpp.
template <class T>
bool is_made_ahead(const Weights<T>& w) {
  return w.info().recurrent && w.sizes.middle_width == 0;
}

}  // namespace

template <class T>
StackStream<T>::StackStream(std::vector<std::shared_ptr<const Weights<T>>> weights,
                            const std::vector<std::vector<ArrayView>>& states,
                            const std::vector<double>& updates, double cell_clip)
    : weights_(std::move(weights)) {
  if (weights_.empty() || states.size() != weights_.size() || states[0].empty())
    fail_value("[stream] expected states of each of ", weights_.size(), " >= 1 layers, got ",
               states.size());
  batch_ = states[0][0].dimensions == 2 ? states[0][0].shape[0] : 0;
  if (batch_ < 1)
    fail_value("[stream] expected state h of shape (B, H) with B >= 1, got ",
               shape_text(states[0][0]));
  order_.resize(static_cast<size_t>(batch_));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  offset_[0] = 0, offset_[1] = batch_;
  plan_ = {.T = 1,
           .B = batch_,
           .tokens = batch_,
           .live = &batch_,
           .offset = offset_,
           .order = order_.data(),
           .resets = nullptr,
           .resets_step = 0,
           .reverse = false,
           .ordered = true,
           .chunks = nullptr,
           .windows = nullptr,
           .chunk_count = 0,
           .window_count = 0};

  const auto take = [this](int64_t size) {
    memory_.emplace_back(size);
    return memory_.back().data();
  };
  const int most_threads = num_threads();
  double work = 0;
  int64_t packed = 0;
  int64_t parts = 1;
  const size_t count = weights_.size();
  layers_.resize(count);
  for (size_t k = 0; k < count; ++k) {
    const Weights<T>& w = *weights_[k];
    const int64_t H = w.packed.H, gate_stride = padded_stride<T>(w.sizes.gate_width);
    if (k > 0 && w.packed.I != weights_[k - 1]->packed.R)
      fail_value("[stream] expected layer ", k, " to read ", weights_[k - 1]->packed.R,
                 " values, got weights for ", w.packed.I);
    if (static_cast<int>(states[k].size()) != w.info().state_count)
      fail_value("[stream] expected ", w.info().state_count, " states, got ", states[k].size());
    if (!updates.empty() && updates.size() != states[k].size())
      fail_value("[stream] expected ", w.info().state_count, " updates, got ", updates.size());
    ForwardArgs<T>& a = layers_[k];
    a = {};
    a.weights = &w.packed;
    a.plan = &plan_;
    check_cell_clip(w.info(), cell_clip);
    a.cell_limit = static_cast<T>(cell_clip);
    const int64_t state_stride = padded_stride<T>(w.sizes.state_width);
    for (size_t i = 0; i < states[k].size(); ++i) {
      a.final[i] =
          contiguous<T>({"stream", "state", "(B, H)", {batch_, w.state_size(static_cast<int>(i))}},
                        states[k][i], Access::kWrite);
      a.initial[i] = a.final[i];
      a.states[i] = {take(2 * batch_ * state_stride), state_stride};
      if (i == 0) a.multiplied = a.states[0];
      if (updates.empty()) continue;
      T* update = take(H);  // the same for all rows
      std::fill(update, update + H, static_cast<T>(updates[i]));
      a.update[i] = {update, 0, 0};
    }
    a.gates = {take(batch_ * gate_stride), gate_stride};
    // Whole panels of a product that is made ahead, else what the cell itself keeps there.
    const int64_t middle_stride =
        padded_stride<T>(is_made_ahead(w) ? w.sizes.bias : w.sizes.middle_width);
    a.middle = {take(batch_ * middle_stride), middle_stride};
    a.hold = take(batch_ * w.sizes.hold_width);
    // Input of one step is always in place: its rows are evenly spaced.
    a.chunk_tokens = a.chunk_rows = batch_;
    a.operand_rows = whole_operands(batch_);
    a.operands =
        take(most_threads * operand_size(w.sizes, a.operand_rows, w.sizes.operand_width, batch_));
    if (k > 0) {
      const int64_t I = w.packed.I;
      T* between = take(batch_ * I);
      layers_[k - 1].y[0] = {between, batch_ * I, I};
      a.x = {between, batch_ * I, I};
    }
    work += 2.0 * w.info().gate_count * static_cast<double>(H) *
            static_cast<double>(w.packed.I + w.packed.R) * static_cast<double>(batch_);
    parts = std::max(parts, w.sizes.forward_panels);
    packed += packed_size(w.sizes, false);
  }
  team_size_ = std::min(most_threads, team_size(work, static_cast<int64_t>(2 * count), parts));
  turns_ = packed * static_cast<int64_t>(sizeof(T)) >= team_size_ * kFarBytes;
}

// Where all weights of a stack hardly exceed L2, each would be thrown out shortly before its turn
// if every step read them in one order. So every other step goes the other way round as far as it
// can: through the panels of each product, and through the recurrent products, which read what the
// step before left, from the last layer to the first. What was read last is read first.
template <class T>
void StackStream<T>::step(const ArrayView& x, const ArrayView& y) {
  const int64_t I = weights_.front()->packed.I, R = weights_.back()->packed.R;
  const Sequence<const T> input =
      one_step<const T>({"stream", "x_t", "(B, I)", {batch_, I}}, x, Access::kRead);
  const Sequence<T> output =
      one_step<T>({"stream", "out", "(B, H)", {batch_, R}}, y, Access::kWrite);
  if (x.data == y.data) fail_value("[stream] expected out to be another array than x_t");
  run_team(std::min(team_size_, num_threads()), [&](const Team& team) {
    const auto run = [&](size_t k, Part part) {
      // The caller's arrays stay with this call: nothing of them is left behind in the stream.
      ForwardArgs<T> args = layers_[k];
      if (k == 0) args.x = input;
      if (k + 1 == layers_.size()) args.y[0] = output;
      args.part = part;
      args.turn = back_;
      weights_[k]->kernels().forward(args, team);
    };
    const auto ahead = [&](size_t k) { return back_ && is_made_ahead(*weights_[k]); };
    for (size_t k = layers_.size(); k-- > 0;)
      if (ahead(k)) run(k, Part::kProduct);
    for (size_t k = 0; k < layers_.size(); ++k) run(k, ahead(k) ? Part::kRest : Part::kWhole);
  });
  back_ = turns_ && !back_;
}

template class StackStream<float>;
template class StackStream<double>;

}  // namespace unrolled
