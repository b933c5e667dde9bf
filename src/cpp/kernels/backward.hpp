// Back-propagation through time: the same scan, walked backwards. Each member owns a range of
// hidden units, or rows of the batch; per step it adds dz W_hh to the gradient that enters its
// units and applies the cell's backward. The products that do not depend on the order of steps (dx
// and the weight gradients) run over a chunk of steps at a time, while its rows are still in the
// cache.
#pragma once

#include "kernels/clip.hpp"
#include "kernels/forward.hpp"
#include "kernels/normalised_backward.hpp"
#include "kernels/phased_backward.hpp"

namespace unrolled::UNROLLED_ISA {

template <class Cell, class T, class O>
struct Backward {
  using V = Vec<T>;
  using Y = Layout<Cell, T, O>;
  static constexpr int S = Cell::kStateCount;

  const BackwardArgs<T>& a;
  const Team& team;
  const Plan& plan = *a.plan;
  const PackedLayer<T>& w = *a.weights;
  const int64_t H = w.H, R = w.R;
  const int64_t K = Y::gate_width(H);
  // Sums of gradients by looked-up row are by unit.
  const bool by_rows = a.by_rows && team.size > 1 && a.lookup.tokens == nullptr;
  const OwnRows own = own_rows(plan, team, by_rows);
  const bool clips_norm = a.clip_norm < static_cast<T>(kUnlimited);
  const bool clips = clips_norm || a.clip_value < static_cast<T>(kUnlimited);
  // Whether members need each other's gradients after every step.
  const bool meets = (Cell::kRecurrent || clips_norm) && !by_rows;
  const Range units = by_rows ? Range{0, H} : share_units(H, kPlainPanel<T>, team);
  const Range outputs = by_rows ? Range{0, R} : share_units(R, kPlainPanel<T>, team);
  // This member's blocks, of the gradients of parameters, and their packed gate columns.
  const Range blocks = own_blocks(H, units);
  const Range columns = {blocks.begin * Y::kBlockWidth, blocks.end * Y::kBlockWidth};

  // Columns of state k, and those of them that are this member's; see Forward.
  int64_t width(int k) const { return k == 0 ? R : H; }
  Range own_columns(int k) const { return k == 0 ? outputs : units; }

  // Of `width` units, the blocks whose parameters' gradients this member sums.
  Range own_blocks(int64_t width, const Range& own_units) const {
    return by_rows ? share(Y::blocks(width), team)
                   : Range{own_units.begin / Y::L, ceil_div(own_units.end, Y::L)};
  }

  // Compact rows at which the stored states and the saved values begin; see Forward.
  int64_t first_state = 0, first_saved = 0;

  void run() {
    Rows<T> later{};       // recurrent gradients of the step that was processed before
    int64_t later_t = -1;  // and that step
    int buffer = 0;
    const bool lookup = a.lookup.tokens != nullptr;
    if (lookup) clear_lookup();
    if (a.again != nullptr) Forward<Cell, T, O>{*a.again, team}.prepare_columns();
    prepare_columns();
    int64_t window = plan.window_count;
    for (int64_t i = plan.chunk_count - 1; i >= 0; --i, buffer ^= 1) {
      const Chunk chunk = planned(plan, plan.chunks, plan.chunk_count, i);
      if (a.again != nullptr) recompute(chunk, window);
      for (int64_t s = chunk.end - 1; s >= chunk.begin; --s) {
        const int64_t t = step_at(plan, s);
        receive(later, later_t, plan.live[t]);
        if (lookup)
          cell_step<true>(t, plan.offset[t] - chunk.first_row, buffer);
        else
          cell_step<false>(t, plan.offset[t] - chunk.first_row, buffer);
        if (meets) sync(team);
        const Rows<T>& d = a.drecurrent[buffer];
        later = {d.data + (plan.offset[t] - chunk.first_row) * d.stride, d.stride};
        later_t = t;
      }
      if (!meets) sync(team);
      recurrent_gradients(chunk, buffer);
      if (!lookup) input_gradients(chunk, buffer);
    }
    receive(later, later_t, 0);
    if (lookup) lookup_gradients();
  }

  // Once, before the first step; see Forward.
  void prepare_columns() const {
    if constexpr (O::kInParts)
      if (a.parts != nullptr) {
        const Range panels = plain_panels<T>(outputs);
        O::template make_parts<kPlainVectors>(w.recurrent_t, Y::First::gate_width(H),
                                              by_rows ? share(panels.end, team) : panels, a.parts);
        if (by_rows) sync(team);
      }
  }

  // Makes again what the forward pass did not store of a chunk: its saved values from its states,
  // or, at the end of each window, both for the whole window.
  void recompute(const Chunk& chunk, int64_t& window) {
    Forward<Cell, T, O> again{*a.again, team};
    if (plan.window_count == 0) {
      again.run_gates(chunk);
    } else {
      if (window < plan.window_count && chunk.begin >= plan.windows[window]) return;
      sync(team);  // nobody reads the window before any more
      again.run_window(--window);
    }
    first_state = again.first_state, first_saved = again.first_saved;
  }

  // Turns `carry` from the gradients of the states that enter step `later_t` into those of the
  // states that leave the step before it, which has `live` rows.
  void receive(const Rows<T>& later, int64_t later_t, int64_t live) const {
    const int64_t later_live = later_t < 0 ? 0 : plan.live[later_t];
    if (Cell::kRecurrent && later_live > 0) {
      const int64_t rows = own.count(later_live);
      const Rows<const T> from = own.of<const T>(later.data, later.stride);
      const Rows<T>& sum = a.factors == nullptr ? a.carry[0] : a.through;
      const Rows<T> to = own.of(sum.data, sum.stride);
      multiply<kPlainVectors, O>(Product<T>{.a = from.data,
                                            .a_stride = from.stride,
                                            .b = w.recurrent_t,
                                            .K = Y::First::gate_width(H),
                                            .c = to.data,
                                            .c_stride = to.stride,
                                            .rows = rows,
                                            .columns = Y::blocks(R) * Y::L,
                                            .bias = nullptr,
                                            .accumulate = a.factors == nullptr,
                                            .parts = a.parts,
                                            .scratch = operands()},
                                 Sweep{plain_panels<T>(outputs), later_t});
      if (a.factors != nullptr) add_masked(later_live);
    }
    if (clips) clip_carry(*this, a, later_live);
    for (int k = 0; k < S; ++k) {
      const Rows<T>& carry = a.carry[k];
      const Range mine = own_columns(k);
      if (plan.resets != nullptr)
        own.each(0, later_live, [&](int64_t j) {
          if (is_reset(plan, later_t, j))
            for (int64_t u = mine.begin; u < mine.end; u += Y::L)
              store(carry.data + j * carry.stride + u, V(T(0)));
        });
      own.each(live, later_live, [&](int64_t j) {  // began at later_t
        for (int64_t u = mine.begin; u < mine.end; u += Y::L)
          store_tail(a.dinitial[k] + plan.order[j] * width(k), u, width(k),
                     load(carry.data + j * carry.stride + u));
      });
      own.each(later_live, live, [&](int64_t j) {  // ended before later_t
        const T* from = a.dfinal[k] == nullptr ? nullptr : a.dfinal[k] + plan.order[j] * width(k);
        for (int64_t u = mine.begin; u < mine.end; u += Y::L)
          store(carry.data + j * carry.stride + u,
                from == nullptr ? V(T(0)) : load_tail(from, u, width(k)));
      });
    }
  }

  // Adds what came through the recurrent product, with the factors of h there, to the carry.
  void add_masked(int64_t live) const {
    own.each(0, live, [&](int64_t j) {
      T* const carry = a.carry[0].data + j * a.carry[0].stride;
      for (int64_t u = outputs.begin; u < outputs.end; u += Y::L)
        store(carry + u,
              multiply_add(factors_at(j, u), load(a.through.data + j * a.through.stride + u),
                           load(carry + u)));
    });
  }
  UNROLLED_INLINE_MEMBER V factors_at(int64_t j, int64_t unit) const {
    return load_tail(a.factors + plan.order[j] * R, unit, R);
  }

  // The cell's backward on this member's live rows of step t; its gradients go to `row` of the
  // chunk buffer. Those of the input part are summed by looked-up row, too.
  template <bool lookup>
  void cell_step(int64_t t, int64_t row, int buffer) const {
    if constexpr (Normalised<Cell>)
      step_back_normalised<Cell, O>(*this, a, t, row, buffer);
    else if constexpr (TwoProducts<Cell>)
      step_back_in_phases<lookup, Cell, O>(*this, a, t, row, buffer);
    else
      step_back<lookup>(t, row, buffer);
  }

  // The gradient of what state k of a row took of its new value in step t; `stayed` is that of the
  // rest.
  UNROLLED_INLINE_MEMBER V taken(int k, int64_t t, int64_t j, int64_t unit, V& stayed) const {
    const auto at = [&](const Sequence<const T>& steps) {
      return steps.data + t * steps.step + plan.order[j] * steps.row;
    };
    V d = load(a.carry[k].data + j * a.carry[k].stride + unit);
    if (a.dy[k].data != nullptr) d = d + load_tail(at(a.dy[k]), unit, width(k));
    stayed = V(T(0));
    if (a.update[k].data == nullptr) return d;
    const V part = load_tail(at(a.update[k]), unit, width(k)) * d;
    stayed = d - part;
    return part;
  }

  template <bool lookup>
  UNROLLED_INLINE_MEMBER void step_back(int64_t t, int64_t row, int buffer) const {
    const Rows<T>&dinput = a.dinput[buffer], &drecurrent = a.drecurrent[buffer];
    const int64_t rows = own.count(plan.live[t]);
    for (int64_t unit = units.begin; unit < units.end; unit += Y::L) {
      const int64_t block = unit / Y::L;
      const T* saved_block =
          Y::saved_at(a.saved, a.saved_rows, block, plan.offset[t] - first_saved);
      for (int64_t n = 0; n < rows; ++n) {
        const int64_t j = own.row(n), token = plan.offset[t] + j;
        V saved[Cell::kSavedCount], p[Y::P + 1], state[S], d[S], stayed[S], dx[Y::G], dr[Y::G],
            dp[Y::P + 1];
#pragma GCC unroll 8
        for (int i = 0; i < Cell::kSavedCount; ++i)
          saved[i] = load(saved_block + (j * Cell::kSavedCount + i) * Y::L);
#pragma GCC unroll 4
        for (int k = 0; k < S; ++k) {
          state[k] = load(a.states[k].data + (token - first_state) * a.states[k].stride + unit);
          d[k] = taken(k, t, j, unit, stayed[k]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < Y::P; ++i) p[i] = load(Y::unit_at(w.unit, block) + i * Y::L);
        with_options<Cell>(a.cell_limit, w.gates,
                           [&](const auto&... options) UNROLLED_INLINE_LAMBDA {
                             Cell::backward(saved, p, state, d, dx, dr, dp, options...);
                           });
#pragma GCC unroll 4
        for (int k = 0; k < S; ++k)
          store(a.carry[k].data + j * a.carry[k].stride + unit, d[k] + stayed[k]);
        T* dx_block = dinput.data + (row + j) * dinput.stride + block * Y::kBlockWidth;
        T* dr_block = drecurrent.data + (row + j) * drecurrent.stride + block * Y::kBlockWidth;
#pragma GCC unroll 8
        for (int g = 0; g < Y::G; ++g) {
          store(dx_block + g * Y::L, O::rounded(dx[g]));
          if constexpr (Cell::kSplitGradient) store(dr_block + g * Y::L, O::rounded(dr[g]));
        }
        if constexpr (Y::P > 0) {
          const Rows<T>& dunit = a.dunit[buffer];
#pragma GCC unroll 4
          for (int i = 0; i < Y::P; ++i)
            store(Y::unit_at(dunit.data + (row + j) * dunit.stride, block) + i * Y::L, dp[i]);
        }
        if constexpr (lookup) {
          T* sum =
              a.dlookup.data + a.lookup.tokens[token] * a.dlookup.stride + block * Y::kBlockWidth;
#pragma GCC unroll 8
          for (int g = 0; g < Y::G; ++g) store(sum + g * Y::L, load(sum + g * Y::L) + dx[g]);
        }
      }
    }
  }

  // dW_hh and db_hh, and of a second product, too, rows of this member's gates, and the gradients
  // of its units' parameters.
  void recurrent_gradients(const Chunk& chunk, int buffer) const {
    if constexpr (Normalised<Cell>)
      norm_gradients<Cell, O>(*this, a, chunk, buffer, blocks);
    else if constexpr (Y::P > 0)
      unit_gradients(a.dunit[buffer], chunk.rows);
    if constexpr (!Cell::kRecurrent) return;
    const Rows<T>&d = a.drecurrent[buffer], &h = a.multiplied;
    const int64_t row = chunk.first_row - first_state;
    sum_outer<Y::First::G>(d, {h.data + row * h.stride, h.stride}, chunk.rows, R, H, blocks,
                           a.grads.weight_hh, Normalised<Cell> ? nullptr : a.grads.bias_hh);
    if constexpr (TwoProducts<Cell>) {
      const LayerParameters<T> second = second_parameters<Cell>(a.grads, H);
      const Rows<T>& m = a.middle[buffer];
      sum_outer<1>(a.dsecond[buffer], {m.data, m.stride}, chunk.rows, H, R, own_blocks(R, outputs),
                   second.weight_hh, second.bias_hh);
    }
  }

  // weight_unit += column sums of d.
  void unit_gradients(const Rows<T>& d, int64_t rows) const {
    if (a.grads.weight_unit == nullptr) return;
    for (int64_t block = blocks.begin; block < blocks.end; ++block)
      for (int i = 0; i < Y::P; ++i) {
        V sum(T(0));
        const T* column = Y::unit_at(d.data, block) + i * Y::L;
        for (int64_t row = 0; row < rows; ++row) sum = sum + load(column + row * d.stride);
        T* to = a.grads.weight_unit + i * H;
        store_tail(to, block * Y::L, H, load_tail(to, block * Y::L, H) + sum);
      }
  }

  // dW_ih, db_ih and dx of a chunk.
  void input_gradients(const Chunk& chunk, int buffer) const {
    const Rows<T>& d = a.dinput[buffer];
    T* gathered = a.gathered + team.rank * a.chunk_rows * w.I;
    parameter_gradients(d, input_rows(plan, chunk, a.x, w.I, gathered), chunk.rows);
    if (a.dx.data == nullptr) return;
    // An existing dx is added to after the product, so that the bits are the same whether rows
    // are in place or gathered.
    const Range part = share(chunk.rows, team);
    const bool direct = !a.accumulate_dx && in_place(plan, a.dx);
    T* to = direct ? a.dx.data + (chunk.first_row + part.begin) * a.dx.row : gathered;
    multiply_input(d, part, to, direct ? a.dx.row : w.I);
    if (direct) return;
    for_user_rows(plan, chunk, part, a.dx,
                  [&](int64_t row, T* user) { add_or_copy(to + (row - part.begin) * w.I, user); });
  }

  void clear_lookup() const {
    for (int64_t v = 0; v < a.lookup.V; ++v)
      for (int64_t p = columns.begin; p < columns.end; p += Y::L)
        store(a.dlookup.data + v * a.dlookup.stride + p, V(T(0)));
  }

  // dW_ih, db_ih and the gradient of the looked-up rows, once for the whole sequence.
  void lookup_gradients() const {
    const int64_t rows = a.lookup.V;
    parameter_gradients(a.dlookup, {a.lookup.rows, w.I}, rows);
    if (a.dx.data == nullptr) return;
    sync(team);
    const Range part = share(rows, team);
    for (int64_t v = part.begin; v < part.end; v += a.chunk_rows) {
      const Range block = {v, smaller(v + a.chunk_rows, part.end)};
      T* to = a.gathered + team.rank * a.chunk_rows * w.I;
      multiply_input(a.dlookup, block, to, w.I);
      for (int64_t row = block.begin; row < block.end; ++row)
        add_or_copy(to + (row - block.begin) * w.I, a.dx.data + row * a.dx.row);
    }
  }

  // dW_ih (G*H, I) += d^T x and db_ih (G*H) += column sums of d, in this member's gates.
  void parameter_gradients(const Rows<T>& d, const Rows<const T>& x, int64_t rows) const {
    sum_outer<Y::G>(d, x, rows, w.I, H, blocks, a.grads.weight_ih,
                    Normalised<Cell> ? nullptr : a.grads.bias_ih);
  }

  // The same of a weight (G*gate_units, width) and its bias, for `own` of the blocks of units.
  template <int G>
  void sum_outer(const Rows<T>& d, const Rows<const T>& x, int64_t rows, int64_t width,
                 int64_t gate_units, Range own, T* weight, T* bias) const {
    accumulate_outer<O>(OuterProduct<T>{d.data, d.stride, x.data, x.stride, rows, width,
                                        a.outer + team.rank * kOuterScratch<T>},
                        {own.begin * G * Y::L, own.end * G * Y::L},
                        GateRows<T>{weight, width, G, gate_units},
                        GateBias<T>{bias, G, gate_units});
  }

  // This member's scratch for rows of gradients that products convert, or null: they need not be.
  T* operands() const {
    return O::kRoundedInPlace ? nullptr
                              : a.operands + team.rank * a.operand_rows * pass_words<O>(K);
  }

  // to = d W_ih for rows `part` of d.
  void multiply_input(const Rows<T>& d, Range part, T* to, int64_t stride) const {
    const int64_t rows = part.end - part.begin;
    multiply<kPlainVectors, O>(Product<T>{.a = d.data + part.begin * d.stride,
                                          .a_stride = d.stride,
                                          .b = w.input_t,
                                          .K = K,
                                          .c = to,
                                          .c_stride = stride,
                                          .rows = rows,
                                          .columns = w.I,
                                          .bias = nullptr,
                                          .accumulate = false,
                                          .scratch = operands()},
                               Range{0, ceil_div(w.I, kPlainPanel<T>)});
  }

  UNROLLED_INLINE_MEMBER void add_or_copy(const T* from, T* to) const {
    if (a.accumulate_dx)
      for (int64_t i = 0; i < w.I; ++i) to[i] += from[i];
    else
      for (int64_t i = 0; i < w.I; ++i) to[i] = from[i];
  }
};

template <class Cell, class T, class O>
void run_backward(const BackwardArgs<T>& args, const Team& team) {
  O::begin();
  Backward<Cell, T, O>{args, team}.run();
  O::end();
}

}  // namespace unrolled::UNROLLED_ISA
