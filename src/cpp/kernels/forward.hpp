// The scan over time, forward. One team runs the whole sequence; each member owns a range of
// hidden units for all steps, so its slice of the recurrent weights stays in its own cache, or rows
// of the batch; see OwnRows.
#pragma once

#include "kernels/normalised.hpp"
#include "kernels/phased.hpp"

namespace unrolled::UNROLLED_ISA {

// Cells whose recurrent product may be made by itself, before the input's: what multiplies it is
// there when the step begins, and it is read by whoever made it.
template <class Cell>
inline constexpr bool kProductAhead = Cell::kRecurrent && !Normalised<Cell> && !TwoProducts<Cell>;

template <class Cell, class T, class O>
struct Forward {
  using V = Vec<T>;
  using Y = Layout<Cell, T, O>;
  static constexpr int S = Cell::kStateCount;
  static constexpr int64_t kNowhere = -1;

  const ForwardArgs<T>& a;
  const Team& team;
  const Plan& plan = *a.plan;
  const PackedLayer<T>& w = *a.weights;
  const int64_t H = w.H, R = w.R;
  const bool by_rows = a.by_rows && team.size > 1;
  const OwnRows own = own_rows(plan, team, by_rows);
  const Range units = by_rows ? Range{0, H} : share_units(H, Y::kUnitStep, team);
  const Range outputs = by_rows ? Range{0, R} : share_units(R, Y::kUnitStep, team);
  const Range panels = Y::panels_of(units);
  // Whether members need each other's states after every step.
  const bool meets = Cell::kRecurrent && !by_rows;
  // Compact rows at which the stored states and the saved values begin, and the row behind the last
  // state: those of the whole sequence, or of a window that is run again.
  int64_t first_state = 0, first_saved = 0, end_state = plan.tokens;

  // Columns of state k, and those of them that are this member's.
  int64_t width(int k) const { return k == 0 ? R : H; }
  Range own_columns(int k) const { return k == 0 ? outputs : units; }

  // Row of the state arrays where the states that enter position s of [.., end) begin.
  int64_t state_row(int64_t s, int64_t end) const {
    if (!a.keep_states) return (s & 1) * plan.B;
    return (s < end ? plan.offset[step_at(plan, s)] : end_state) - first_state;
  }

  void run() const {
    if (a.part != Part::kRest) {
      start_rows(0, plan.T, 0, plan.live[step_at(plan, 0)]);
      prepare_columns();
      sync(team);
    }
    if (a.part != Part::kProduct)
      scan(0, plan.T);
    else if constexpr (kProductAhead<Cell>)
      multiply_ahead();
  }

  // The recurrent product of a step by itself, as advance_fused makes it.
  void multiply_ahead() const {
    const int64_t rows = plan.live[0];
    const Rows<const T> h = prepared({a.multiplied.data, a.multiplied.stride}, rows, H);
    multiply<Y::kVectors, O>(Product<T>{.a = h.data,
                                        .a_stride = h.stride,
                                        .b = w.recurrent,
                                        .K = H,
                                        .c = a.middle.data,
                                        .c_stride = a.middle.stride,
                                        .rows = rows,
                                        .columns = Y::gate_width(H),
                                        .bias = w.bias_recurrent,
                                        .accumulate = false},
                             Sweep{panels, a.turn});
  }

  // Once, before the first step: the input part of every row of a lookup's table, and the recurrent
  // columns in parts.
  void prepare_columns() const {
    if constexpr (O::kInParts)
      if (a.parts != nullptr)
        O::template make_parts<Y::First::kVectors>(
            w.recurrent, R, by_rows ? share(panels.end, team) : panels, a.parts);
    if (a.lookup.tokens == nullptr) return;
    const Range part = by_rows ? share(a.lookup.V, team) : Range{0, a.lookup.V};
    input_product({a.lookup.rows + part.begin * w.I, w.I}, part.end - part.begin,
                  {a.gates.data + part.begin * a.gates.stride, a.gates.stride});
  }

  // Stores again the states and saved values of a window, from the states that enter it. The other
  // members may not be reading them any more.
  void run_window(int64_t index) {
    const Chunk window = planned(plan, plan.windows, plan.window_count, index);
    first_state = first_saved = window.first_row;
    end_state = window.first_row + window.rows;
    const int64_t row = state_row(window.begin, window.end);
    copy_entering(index, a.entering, index * plan.B, a.states, row);
    mask_rows(row, 0, plan.live[step_at(plan, window.begin)]);
    sync(team);
    scan(window.begin, window.end);
    if constexpr (!Cell::kRecurrent) sync(team);  // members met after every step otherwise
  }

  // Stores again the saved values of a chunk whose states are stored: its steps are independent
  // now, so that all its rows go through the recurrent product together.
  void run_gates(const Chunk& chunk) {
    first_saved = chunk.first_row;
    input_part(chunk);
    advance({0, 1, chunk.rows}, chunk.first_row, chunk.rows, kNowhere, chunk.first_row, chunk, 0);
    sync(team);
  }

  void scan(int64_t begin, int64_t end) const {
    int64_t window = 0;
    for (int64_t s = begin; s < end;) {
      // A row's place in `gates` must not be another member's in the next chunk.
      const Chunk chunk = chunk_from(plan, s, end, by_rows ? 1 : a.chunk_tokens);
      input_part(chunk);
      for (; s < chunk.end; ++s) {
        if (a.saved == nullptr && window < plan.window_count && s == plan.windows[window]) {
          copy_entering(window, a.states, state_row(s, end), a.entering, window * plan.B);
          ++window;
        }
        step(s, end, chunk);
        hand_over(s, end);
        if (meets || overlaps(s)) sync(team);
      }
    }
  }

  // Whether states that leave position s lie where those that leave the next one will: of rows that
  // end here, the next step has no place.
  bool overlaps(int64_t s) const {
    return a.keep_states && s + 1 < plan.T &&
           plan.live[step_at(plan, s + 1)] < plan.live[step_at(plan, s)];
  }

  // The input part of a chunk, normalised where the cell asks for it.
  void input_part(const Chunk& chunk) const {
    input_products(chunk);
    if constexpr (Normalised<Cell>) normalise_input<Cell, O>(*this, a, chunk);
  }

  // Its products: of this member's units, or, of a chunk of one step, of its rows.
  void input_products(const Chunk& chunk) const {
    if (a.lookup.tokens != nullptr) return;
    T* gathered = a.gathered + team.rank * a.chunk_rows * w.I;
    if (!by_rows) {
      input_product(input_rows(plan, chunk, a.x, w.I, gathered), chunk.rows, a.gates);
      return;
    }
    const T* x = a.x.data + step_at(plan, chunk.begin) * a.x.step;
    Rows<const T> from = own.of(x, a.x.row);
    if (!plan.ordered) {
      from = {gathered, w.I};
      own.each(0, chunk.rows, [&](int64_t j) {
        __builtin_memcpy(gathered, x + plan.order[j] * a.x.row,
                         static_cast<size_t>(w.I) * sizeof(T));
        gathered += w.I;
      });
    }
    input_product(from, own.count(chunk.rows), own.of(a.gates.data, a.gates.stride));
  }

  // Rows as the products read them: in place, or converted into this member's scratch.
  Rows<const T> prepared(const Rows<const T>& from, int64_t rows, int64_t K) const {
    return prepare_rows<O>(from, rows, K, operands());
  }
  // This member's scratch for them, or null: they are read in place.
  T* operands() const {
    if constexpr (O::kInPlace) return nullptr;
    return a.operands + team.rank * a.operand_rows * larger(pass_words<O>(w.I), O::row_words(R));
  }

  // to = W_ih x + b_ih for this member's units.
  void input_product(const Rows<const T>& x, int64_t rows, const Rows<T>& to) const {
    const int64_t most = O::kInPlace ? rows : a.operand_rows;
    for (int64_t first = 0; first < rows; first += most) {
      const int64_t count = smaller(most, rows - first);
      multiply<Y::kVectors, O>(Product<T>{.a = x.data + first * x.stride,
                                          .a_stride = x.stride,
                                          .b = w.input,
                                          .K = w.I,
                                          .c = to.data + first * to.stride,
                                          .c_stride = to.stride,
                                          .rows = count,
                                          .columns = Y::gate_width(H),
                                          .bias = Normalised<Cell> ? nullptr : w.bias_input,
                                          .accumulate = false,
                                          .scratch = operands()},
                               Sweep{panels, a.turn});
    }
  }

  // One step of this member's live rows.
  void step(int64_t s, int64_t end, const Chunk& chunk) const {
    const int64_t t = step_at(plan, s), entering = state_row(s, end);
    const int64_t leaving = state_row(s + 1, end);
    // Other members wrote the rest of each row just now: ask for all of it at once. And they have
    // read, some time ago, what will be written.
    if (team.size > 1 && meets) {
      const Rows<T>& h = a.multiplied;
      for (int64_t j = 0; j < plan.live[t]; ++j) {
        const T* row = h.data + (entering + j) * h.stride;
        prefetch(row, outputs.begin);
        prefetch(row + outputs.end, R - outputs.end);
      }
      for (int64_t j = 0; j < plan.live[t]; ++j)
        prefetch_to_write(h.data + (leaving + j) * h.stride + outputs.begin,
                          outputs.end - outputs.begin);
    }
    advance(own, entering, plan.live[t], leaving, plan.offset[t], chunk, t);
  }

  // The recurrent product of `mine` of `live` rows of states from `entering` on, with the cell
  // applied where it ends. Row j is token `token + j` of step t; where the states that leave are
  // stored at all, they go to row `leaving + j`, and the output to row order[j] of y. Not inlined:
  // it is most of the code of a cell.
  __attribute__((noinline)) void advance(const OwnRows& mine, int64_t entering, int64_t live,
                                         int64_t leaving, int64_t token, const Chunk& chunk,
                                         int64_t t) const {
    if constexpr (Normalised<Cell>)
      advance_normalised<Cell, O>(*this, mine, entering, live, leaving, token, chunk, t);
    else if constexpr (TwoProducts<Cell>)
      advance_in_phases<Cell, O>(*this, mine, entering, live, leaving, token, chunk, t);
    else
      advance_fused(mine, entering, live, leaving, token, chunk, t);
  }

  UNROLLED_INLINE_MEMBER void advance_fused(const OwnRows& mine, int64_t entering, int64_t live,
                                            int64_t leaving, int64_t token, const Chunk& chunk,
                                            int64_t t) const {
    const Rows<T>& from = a.multiplied;
    const int64_t rows = mine.count(live);
    const auto use = [&](int64_t n, int64_t panel, const V* sum) UNROLLED_INLINE_LAMBDA {
      const int64_t row = mine.row(n);
      const T* x = a.gates.data + gate_row(token + row, chunk) * a.gates.stride;
#pragma GCC unroll 4
      for (int block = 0; block < Y::kBlocks; ++block)
        apply(panel * Y::kBlocks + block, x, sum + block * Y::G, entering + row,
              leaving < 0 ? kNowhere : leaving + row, token + row, t, row);
    };
    if constexpr (kProductAhead<Cell>)
      if (a.part == Part::kRest) {
        for (int64_t n = 0; n < rows; ++n)
          for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
            V sum[Y::kVectors];
            const T* made = a.middle.data + n * a.middle.stride + panel * Y::kPanelWidth;
#pragma GCC unroll 8
            for (int v = 0; v < Y::kVectors; ++v) sum[v] = load(made + v * Y::L);
            use(n, panel, sum);
          }
        return;
      }
    Rows<const T> h = mine.of<const T>(from.data + entering * from.stride, from.stride);
    if constexpr (Cell::kRecurrent) h = prepared(h, rows, H);
    multiply_fused<Y, O, Cell::kRecurrent>(
        h, rows, FusedColumns<T>{w.recurrent, w.bias_recurrent, H, a.parts},
        Sweep{panels, t + a.turn}, use);
  }

  // Row of `gates` that holds the input part of a token.
  UNROLLED_INLINE_MEMBER int64_t gate_row(int64_t token, const Chunk& chunk) const {
    return a.lookup.tokens == nullptr ? token - chunk.first_row : a.lookup.tokens[token];
  }

  // The cell on one block of units of one row.
  UNROLLED_INLINE_MEMBER void apply(int64_t block, const T* x_row, const V* recurrent,
                                    int64_t entering, int64_t leaving, int64_t token, int64_t t,
                                    int64_t row) const {
    const int64_t unit = block * Y::L;
    if (unit >= H) return;
    V x[Y::G], p[Y::P + 1], state[S], next[S], keep[Cell::kSavedCount];
#pragma GCC unroll 8
    for (int g = 0; g < Y::G; ++g) x[g] = load(x_row + block * Y::kBlockWidth + g * Y::L);
#pragma GCC unroll 4
    for (int k = 0; k < S; ++k)
      state[k] = load(a.states[k].data + entering * a.states[k].stride + unit);
#pragma GCC unroll 4
    for (int i = 0; i < Y::P; ++i) p[i] = load(Y::unit_at(w.unit, block) + i * Y::L);
    with_options<Cell>(a.cell_limit, w.gates, [&](const auto&... options) UNROLLED_INLINE_LAMBDA {
      Cell::forward(x, recurrent, p, state, next, keep, options...);
    });
    if (leaving >= 0)
#pragma GCC unroll 4
      for (int k = 0; k < S; ++k) leave(k, state[k], next[k], leaving, unit, t, row);
    if (a.saved == nullptr) return;
    T* saved = Y::saved_at(a.saved, a.saved_rows, block, token - first_saved);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::kSavedCount; ++i) store(saved + i * Y::L, keep[i]);
  }

  // State k of a row leaves step t: to row `leaving` of the states, and where all steps are wanted.
  UNROLLED_INLINE_MEMBER void leave(int k, V old, V next, int64_t leaving, int64_t unit, int64_t t,
                                    int64_t row) const {
    const auto at = [&](const auto& steps) {
      return steps.data + t * steps.step + plan.order[row] * steps.row;
    };
    // What lies beyond the last unit: f(0) may be anything, and grow from step to step.
    if constexpr (Cell::kFunctionCount > 0)
      if (unit + Y::L > width(k)) next = keep_some(next, width(k) - unit);
    if (a.update[k].data != nullptr) {
      const V taken = load_tail(at(a.update[k]), unit, width(k));
      next = multiply_add(taken, next, (V(T(1)) - taken) * old);
    }
    store(a.states[k].data + leaving * a.states[k].stride + unit, next);
    if (k == 0 && a.factors != nullptr) mask(next, leaving, unit, row);
    if (a.y[k].data != nullptr) store_tail(at(a.y[k]), unit, width(k), next);
  }

  // A block of h of a row as the recurrent product is to read it.
  UNROLLED_INLINE_MEMBER void mask(V h, int64_t state_row, int64_t unit, int64_t row) const {
    store(a.multiplied.data + state_row * a.multiplied.stride + unit,
          h * load_tail(a.factors + plan.order[row] * R, unit, R));
  }

  // The same of this member's rows [begin, count) at `row` of the states.
  void mask_rows(int64_t row, int64_t begin, int64_t count) const {
    if (a.factors == nullptr) return;
    own.each(begin, count, [&](int64_t j) {
      const T* h = a.states[0].data + (row + j) * a.states[0].stride;
      for (int64_t u = outputs.begin; u < outputs.end; u += Y::L) mask(load(h + u), row + j, u, j);
    });
  }

  // After position s: rows whose sequence ends give their final states, rows that begin at the
  // next position get their initial ones, and rows that are reset there get zeros.
  void hand_over(int64_t s, int64_t end) const {
    const int64_t live = plan.live[step_at(plan, s)];
    const int64_t next_live = s + 1 < plan.T ? plan.live[step_at(plan, s + 1)] : 0;
    const int64_t row = state_row(s + 1, end);
    if (a.final[0] != nullptr)
      own.each(next_live, live, [&](int64_t j) {
        for (int k = 0; k < S; ++k) {
          const T* from = a.states[k].data + (row + j) * a.states[k].stride;
          T* to = a.final[k] + plan.order[j] * width(k);
          for (int64_t u = own_columns(k).begin; u < own_columns(k).end; u += Y::L)
            store_tail(to, u, width(k), load(from + u));
        }
      });
    if (s + 1 < end) start_rows(s + 1, end, live, next_live);
  }

  // States that enter position s for rows [begin, count), then the resets of position s.
  void start_rows(int64_t s, int64_t end, int64_t begin, int64_t count) const {
    const int64_t row = state_row(s, end), t = step_at(plan, s);
    own.each(begin, count, [&](int64_t j) {
      for (int k = 0; k < S; ++k) {
        T* to = a.states[k].data + (row + j) * a.states[k].stride;
        const T* from = a.initial[k] == nullptr ? nullptr : a.initial[k] + plan.order[j] * width(k);
        for (int64_t u = own_columns(k).begin; u < own_columns(k).end; u += Y::L)
          store(to + u, from == nullptr ? V(T(0)) : load_tail(from, u, width(k)));
      }
    });
    if (plan.resets != nullptr)
      own.each(0, count, [&](int64_t j) {
        if (is_reset(plan, t, j))
          for (int k = 0; k < S; ++k)
            for (int64_t u = own_columns(k).begin; u < own_columns(k).end; u += Y::L)
              store(a.states[k].data + (row + j) * a.states[k].stride + u, V(T(0)));
      });
    mask_rows(row, plan.resets == nullptr ? begin : 0, count);
  }

  // Copies this member's part of the states that enter a window.
  void copy_entering(int64_t window, const Rows<T>* from, int64_t from_row, const Rows<T>* to,
                     int64_t to_row) const {
    const int64_t live = plan.live[step_at(plan, plan.windows[window])];
    own.each(0, live, [&](int64_t j) {
      for (int k = 0; k < S; ++k)
        for (int64_t u = own_columns(k).begin; u < own_columns(k).end; u += Y::L)
          store(to[k].data + (to_row + j) * to[k].stride + u,
                load(from[k].data + (from_row + j) * from[k].stride + u));
    });
  }
};

template <class Cell, class T, class O>
void run_forward(const ForwardArgs<T>& args, const Team& team) {
  O::begin();
  Forward<Cell, T, O>{args, team}.run();
  O::end();
}

}  // namespace unrolled::UNROLLED_ISA
