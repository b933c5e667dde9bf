// The scan over time, forward. One team runs the whole sequence; each member owns a range of
// hidden units for all steps, so its slice of the recurrent weights stays in its own cache.
#pragma once

#include "kernels/layout.hpp"

namespace unrolled::UNROLLED_ISA {

template <class Cell, class T>
struct Forward {
  using V = Vec<T>;
  using Y = Layout<Cell, T>;
  static constexpr int S = Cell::kStateCount;

  const ForwardArgs<T>& a;
  const Team& team;
  const Plan& plan = *a.plan;
  const PackedLayer<T>& w = *a.weights;
  const int64_t H = w.H;
  const Range panels = share(Y::gate_panels(H), team);
  const int64_t first_unit = panels.begin * Y::kPanelUnits;
  const int64_t end_unit = smaller(panels.end * Y::kPanelUnits, H);

  // Row of the state arrays where the states that enter position s begin.
  int64_t state_row(int64_t s) const {
    if (a.saved == nullptr) return (s & 1) * plan.B;
    return s < plan.T ? plan.offset[step_at(plan, s)] : plan.tokens;
  }

  void run() const {
    start_rows(0, 0, plan.live[step_at(plan, 0)]);
    if (a.lookup.tokens != nullptr) input_product({a.lookup.rows, w.I}, a.lookup.V);
    sync(team);
    for (int64_t s = 0; s < plan.T;) {
      const Chunk chunk = chunk_from(plan, s, a.chunk_tokens);
      if (a.lookup.tokens == nullptr)
        input_product(
            input_rows(plan, chunk, a.x, w.I, a.gathered + team.rank * a.chunk_rows * w.I),
            chunk.rows);
      for (; s < chunk.end; ++s) {
        step(s, chunk);
        hand_over(s);
        sync(team);
      }
    }
  }

  // W_ih x + b_ih for this member's units.
  void input_product(const Rows<const T>& x, int64_t rows) const {
    multiply<Y::kVectors>(Product<T>{.a = x.data,
                                     .a_stride = x.stride,
                                     .b = w.input,
                                     .K = w.I,
                                     .c = a.gates.data,
                                     .c_stride = a.gates.stride,
                                     .rows = rows,
                                     .columns = Y::gate_width(H),
                                     .bias = w.bias_input,
                                     .accumulate = false},
                          panels);
  }

  // Row of `gates` that holds the input part of an ordered row at step t.
  UNROLLED_INLINE_MEMBER int64_t gate_row(int64_t t, int64_t row, const Chunk& chunk) const {
    return a.lookup.tokens == nullptr ? plan.offset[t] - chunk.first_row + row
                                      : a.lookup.tokens[t * plan.B + plan.order[row]];
  }

  // The recurrent product of one step with the cell applied where it ends.
  void step(int64_t s, const Chunk& chunk) const {
    const int64_t t = step_at(plan, s);
    const int64_t entering = state_row(s), leaving = state_row(s + 1);
    const int64_t token = plan.offset[t];
    // Other members wrote the rest of each row just now: ask for all of it at once.
    if (team.size > 1)
      for (int64_t j = 0; j < plan.live[t]; ++j) {
        const T* h = a.states[0].data + (entering + j) * a.states[0].stride;
        prefetch(h, first_unit);
        prefetch(h + end_unit, H - end_unit);
      }
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const T* packed = w.recurrent + panel * H * Y::kPanelWidth;
      for_row_tiles<kTileRows<Y::kVectors>>(plan.live[t], [&](auto rows, int64_t first) {
        constexpr int MR = decltype(rows)::kValue;
        constexpr int TV = kTileVectors<Y::kVectors>;
        const Rows<T>& h = a.states[0];
        V sum[MR][Y::kVectors];
#pragma GCC unroll 2
        for (int part = 0; part < Y::kVectors; part += TV) {
          V tile[MR][TV];
#pragma GCC unroll 16
          for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < TV; ++v)
              tile[r][v] = load(w.bias_recurrent + panel * Y::kPanelWidth + (part + v) * Y::L);
          multiply_tile<Y::kVectors>(h.data + (entering + first) * h.stride, h.stride, 1,
                                     packed + part * Y::L, H, tile);
#pragma GCC unroll 16
          for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < TV; ++v) sum[r][part + v] = tile[r][v];
        }
        for (int r = 0; r < MR; ++r) {
          const int64_t row = first + r;
          const T* x = a.gates.data + gate_row(t, row, chunk) * a.gates.stride;
          T* y = a.y.data + t * a.y.step + plan.order[row] * a.y.row;
#pragma GCC unroll 4
          for (int block = 0; block < Y::kBlocks; ++block)
            apply(panel * Y::kBlocks + block, x, sum[r] + block * Y::G, entering + row,
                  leaving + row, y, token + row);
        }
      });
    }
  }

  // The cell on one block of units of one row.
  UNROLLED_INLINE_MEMBER void apply(int64_t block, const T* x_row, const V* recurrent,
                                    int64_t entering, int64_t leaving, T* y, int64_t token) const {
    const int64_t unit = block * Y::L;
    if (unit >= H) return;
    V x[Y::G], state[S], next[S], keep[Cell::kSavedCount];
#pragma GCC unroll 8
    for (int g = 0; g < Y::G; ++g) x[g] = load(x_row + block * Y::kBlockWidth + g * Y::L);
#pragma GCC unroll 4
    for (int k = 0; k < S; ++k)
      state[k] = load(a.states[k].data + entering * a.states[k].stride + unit);
    Cell::forward(x, recurrent, state, next, keep);
#pragma GCC unroll 4
    for (int k = 0; k < S; ++k)
      store(a.states[k].data + leaving * a.states[k].stride + unit, next[k]);
    store_tail(y, unit, H, next[0]);
    if (a.saved == nullptr) return;
    T* saved = Y::saved_at(a.saved, plan.tokens, block, token);
#pragma GCC unroll 8
    for (int i = 0; i < Cell::kSavedCount; ++i) store(saved + i * Y::L, keep[i]);
  }

  // After position s: rows whose sequence ends give their final states, rows that begin at the
  // next position get their initial ones, and rows that are reset there get zeros.
  void hand_over(int64_t s) const {
    const int64_t live = plan.live[step_at(plan, s)];
    const int64_t next_live = s + 1 < plan.T ? plan.live[step_at(plan, s + 1)] : 0;
    const int64_t row = state_row(s + 1);
    for (int64_t j = next_live; j < live; ++j)
      for (int k = 0; k < S; ++k) {
        const T* from = a.states[k].data + (row + j) * a.states[k].stride;
        T* to = a.final[k] + plan.order[j] * H;
        for (int64_t u = first_unit; u < end_unit; u += Y::L) store_tail(to, u, H, load(from + u));
      }
    if (next_live > 0) start_rows(s + 1, live, next_live);
  }

  // States that enter position s for rows [begin, end), then the resets of position s.
  void start_rows(int64_t s, int64_t begin, int64_t end) const {
    const int64_t row = state_row(s), t = step_at(plan, s);
    for (int64_t j = begin; j < end; ++j)
      for (int k = 0; k < S; ++k) {
        T* to = a.states[k].data + (row + j) * a.states[k].stride;
        const T* from = a.initial[k] == nullptr ? nullptr : a.initial[k] + plan.order[j] * H;
        for (int64_t u = first_unit; u < end_unit; u += Y::L)
          store(to + u, from == nullptr ? V(T(0)) : load_tail(from, u, H));
      }
    if (plan.resets == nullptr) return;
    for (int64_t j = 0; j < end; ++j)
      if (is_reset(plan, t, j))
        for (int k = 0; k < S; ++k)
          for (int64_t u = first_unit; u < end_unit; u += Y::L)
            store(a.states[k].data + (row + j) * a.states[k].stride + u, V(T(0)));
  }
};

template <class Cell, class T>
void run_forward(const ForwardArgs<T>& args, const Team& team) {
  Forward<Cell, T>{args, team}.run();
}

}  // namespace unrolled::UNROLLED_ISA
