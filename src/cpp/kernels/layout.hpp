// Layout of one cell's packed rows, and helpers that walk the live rows of a plan.
#pragma once

#include "cells/all.hpp"
#include "kernels/gemm.hpp"
#include "kernels/outer.hpp"

namespace unrolled::UNROLLED_ISA {

// Row g * H + u of torch's matrices that stands at packed column p of G gates, or -1 for padding.
template <class T>
UNROLLED_INLINE int64_t torch_row(int64_t p, int64_t G, int64_t H) {
  const int64_t vector = p / kLanes<T>, unit = vector / G * kLanes<T> + p % kLanes<T>;
  return unit < H ? vector % G * H + unit : -1;
}

// Where sums over the packed columns of G gates go, for accumulate_outer: rows of a gradient in
// torch's order, and a bias that may be null. The same type for all cells.
template <class T>
struct GateRows {
  T* weight;
  int64_t width, G, H;

  UNROLLED_INLINE_MEMBER T* operator()(int64_t p) const {
    const int64_t row = torch_row<T>(p, G, H);
    return row < 0 ? nullptr : weight + row * width;
  }
};
template <class T>
struct GateBias {
  T* bias;
  int64_t G, H;

  // A vector of packed columns is one gate of neighbouring units.
  UNROLLED_INLINE_MEMBER void operator()(int64_t p, int64_t, Vec<T> sum) const {
    if (bias == nullptr) return;
    const int64_t valid = smaller(kLanes<T>, H - p / (G * kLanes<T>)*kLanes<T>);
    T* to = bias + torch_row<T>(p, G, H);
    store_tail(to, 0, valid, load_tail(to, 0, valid) + sum);
  }
};

// A cell that has a second product in each step, and one whose products are normalised; see
// cells/all.hpp.
template <class Cell>
concept TwoProducts = requires { Cell::kFirstGates; };
template <class Cell>
concept Normalised = requires { Cell::kNormalisesCell; };

// Gates of the product with the state h.
template <class Cell>
consteval int recurrent_gates() {
  if constexpr (TwoProducts<Cell>)
    return Cell::kFirstGates;
  else
    return Cell::kGateCount;
}

template <class Cell>
consteval bool projects() {
  if constexpr (TwoProducts<Cell>)
    return Cell::kProjects;
  else
    return false;
}

// The matrix (columns of h, H) of the second product, as weight_hh, and its bias.
template <class Cell, class T>
UNROLLED_INLINE LayerParameters<T> second_parameters(const LayerParameters<T>& of, int64_t H) {
  LayerParameters<T> second{};
  const int64_t rows = Cell::kFirstGates * H;  // of weight_hh that are in the first one
  second.weight_hh = Cell::kProjects ? of.weight_hr : of.weight_hh + rows * H;
  if (!Cell::kProjects && of.bias_hh != nullptr) second.bias_hh = of.bias_hh + rows;
  return second;
}

// Calls f with what a cell's functions are given behind their other arguments: the limit of its
// state c, and what its gates apply, where these may be chosen.
template <class Cell, class T, class F>
UNROLLED_INLINE void with_options(T cell_limit, const GateOptions<T>& gates, F&& f) {
  if constexpr (Cell::kClipsCell && Cell::kFunctionCount > 0)
    f(Vec<T>(cell_limit), gates);
  else if constexpr (Cell::kClipsCell)
    f(Vec<T>(cell_limit));
  else if constexpr (Cell::kFunctionCount > 0)
    f(gates);
  else
    f();
}

// Panels of packed columns with G gates of each unit.
template <int gates, class T>
struct GateLayout {
  static constexpr int L = kLanes<T>;
  static constexpr int G = gates;
  // Blocks of L units in a gate panel: about four vectors, and an even number where for_parts asks
  // for it.
  static constexpr int kBlocks = G >= 3 ? (kVectorRegisters == 32 || G % 2 == 0 ? 1 : 2) : 4 / G;
  static constexpr int kVectors = kBlocks * G;  // vectors in a gate panel
  static constexpr int64_t kPanelUnits = kBlocks * L;
  static constexpr int64_t kPanelWidth = kVectors * L;
  static constexpr int64_t kBlockWidth = G * L;

  UNROLLED_INLINE int64_t blocks(int64_t H) { return ceil_div(H, L); }
  UNROLLED_INLINE int64_t gate_width(int64_t H) { return blocks(H) * kBlockWidth; }
  UNROLLED_INLINE int64_t gate_panels(int64_t H) { return ceil_div(H, kPanelUnits); }
  // The panels of units that begin with a panel.
  UNROLLED_INLINE Range panels_of(Range units) {
    return {units.begin / kPanelUnits, ceil_div(units.end, kPanelUnits)};
  }
};

template <class Cell, class T, class O>
struct Layout : GateLayout<Cell::kGateCount, T> {
  using Gates = GateLayout<Cell::kGateCount, T>;
  using First = GateLayout<recurrent_gates<Cell>(), T>;  // of the product with h
  using Second = GateLayout<1, T>;                       // of the second product
  using Gates::L, Gates::kPanelUnits, Gates::kPanelWidth, Gates::blocks, Gates::gate_width,
      Gates::gate_panels;
  static constexpr int P = Cell::kUnitCount;
  // A member's units begin at multiples of this, so that they begin a panel of each product.
  static constexpr int64_t kUnitStep = TwoProducts<Cell> ? kPlainPanel<T> : kPanelUnits;
  // With a normalised cell, the two normalised parts of the gates as well.
  static constexpr int kSaved = Cell::kSavedCount + (Normalised<Cell> ? 2 * Gates::G : 0);

  UNROLLED_INLINE int64_t saved_width(int64_t H) { return blocks(H) * kSaved * L; }
  // Saved values stand as [block of units][row][value][L]: what a member writes and reads in one
  // step for one block is one run of memory.
  template <class Q>
  UNROLLED_INLINE Q saved_at(Q saved, int64_t rows, int64_t block, int64_t row) {
    return saved + (block * rows + row) * kSaved * L;
  }
  // The parameters of the units of a block, or their gradients.
  template <class Q>
  UNROLLED_INLINE Q unit_at(Q row, int64_t block) {
    return row + block * P * L;
  }

  static LayerSizes sizes(int64_t I, int64_t H, int64_t R) {
    const int64_t width = gate_panels(H) * kPanelWidth;
    const int64_t first_width = First::gate_panels(H) * First::kPanelWidth;
    const int64_t recurrent_width = First::gate_width(H);
    const int64_t plain = kPlainPanel<T>;
    LayerSizes s{};
    s.gate_width = gate_width(H);
    s.split_width = Cell::kSplitGradient || Normalised<Cell> || recurrent_width < gate_width(H)
                        ? recurrent_width
                        : 0;
    s.saved_width = saved_width(H);
    s.state_width = blocks(H) * L;
    s.unit = blocks(H) * P * L;
    s.input = width * O::words(I);
    s.recurrent = Cell::kRecurrent ? first_width * O::words(R) : 0;
    s.bias = larger(width, first_width);
    s.input_t = ceil_div(I, plain) * plain * O::words(gate_width(H));
    s.recurrent_t = Cell::kRecurrent ? ceil_div(R, plain) * plain * O::words(recurrent_width) : 0;
    s.operand_width = larger(pass_words<O>(I), O::row_words(H));
    s.gradient_width = O::kRoundedInPlace ? 0 : pass_words<O>(gate_width(H));
    if constexpr (O::kInParts) {
      s.least_rows = O::least_rows(H);
      s.recurrent_parts = first_width * O::row_word(R);
      s.recurrent_t_parts = ceil_div(R, plain) * plain * O::row_word(recurrent_width);
    }
    s.forward_panels = ceil_div(H, kUnitStep);
    s.backward_panels = ceil_div(H, plain);
    if constexpr (TwoProducts<Cell>) {
      s.second_bias = Second::gate_panels(R) * Second::kPanelWidth;
      s.second = s.second_bias * H;
      s.second_t = ceil_div(H, plain) * plain * Second::gate_width(R);
      s.middle_width = s.state_width;
      s.second_width = Second::gate_width(R);
      s.hold_width = Cell::kProjects ? 0 : s.saved_width;
    } else if constexpr (Normalised<Cell>) {
      s.middle_width = s.gate_width;
      s.moment_count = 2;
      s.scaled_width = (Cell::kSplitGradient ? 2 : 1) * s.gate_width +
                       (Cell::kNormalisesCell ? 2 * s.state_width : 0);
    }
    return s;
  }

  static void pack(const LayerParameters<const T>& from, PackedLayer<T>& to, const Team& team) {
    const int64_t I = to.I, H = to.H, R = to.R;
    pack_gates<Gates>(to.input, to.bias_input, from.weight_ih, from.bias_ih, I, H, team);
    if constexpr (Cell::kRecurrent)
      pack_gates<First>(to.recurrent, to.bias_recurrent, from.weight_hh, from.bias_hh, R, H, team);
    else
      pack_bias<Gates>(to.bias_recurrent, nullptr, H, share(gate_panels(H), team));
    const Range own = share(blocks(H), team);
    for (int64_t block = own.begin; block < own.end; ++block)
      for (int i = 0; i < P; ++i)
        store(unit_at(to.unit, block) + i * L,
              from.weight_unit == nullptr ? Vec<T>(T(0))
                                          : load_tail(from.weight_unit + i * H, block * L, H));
    if (to.input_t != nullptr) {
      pack_transposed<Gates>(to.input_t, from.weight_ih, I, H, team);
      if constexpr (Cell::kRecurrent)
        pack_transposed<First>(to.recurrent_t, from.weight_hh, R, H, team);
    }
    if constexpr (TwoProducts<Cell>) {
      const LayerParameters<const T> second = second_parameters<Cell>(from, H);
      pack_gates<Second>(to.second, to.second_bias, second.weight_hh, second.bias_hh, H, R, team);
      if (to.second_t != nullptr)
        pack_transposed<Second>(to.second_t, second.weight_hh, H, R, team);
    }
  }

 private:
  // The row of a (gates*H, K) matrix that is packed column p.
  template <class Y>
  UNROLLED_INLINE auto packed_row(const T* matrix, int64_t K, int64_t H) {
    return [matrix, K, H](int64_t p) -> const T* {
      const int64_t row = torch_row<T>(p, Y::G, H);
      return row < 0 ? nullptr : matrix + row * K;
    };
  }

  // The gates of H units as panels of columns, K long, and their biases.
  template <class Y>
  static void pack_gates(T* packed, T* packed_bias, const T* weight, const T* bias, int64_t K,
                         int64_t H, const Team& team) {
    const Range panels = share(Y::gate_panels(H), team);
    pack_rows<O>(packed, K, Y::kPanelWidth, panels, packed_row<Y>(weight, K, H));
    pack_bias<Y>(packed_bias, bias, H, panels);
  }

  template <class Y>
  static void pack_bias(T* packed, const T* bias, int64_t H, Range panels) {
    for (int64_t p = panels.begin * Y::kPanelWidth; p < panels.end * Y::kPanelWidth; ++p) {
      const int64_t row = torch_row<T>(p, Y::G, H);
      packed[p] = bias != nullptr && row >= 0 ? bias[row] : T(0);
    }
  }

  // The same matrix transposed.
  template <class Y>
  static void pack_transposed(T* packed, const T* weight, int64_t K, int64_t H, const Team& team) {
    pack_columns<O>(packed, Y::gate_width(H), K, share(ceil_div(K, kPlainPanel<T>), team),
                    packed_row<Y>(weight, K, H));
  }
};

// This member's part of `width` units, in whole steps of them; {0, 0} where there is none.
UNROLLED_INLINE Range share_units(int64_t width, int64_t step, const Team& team) {
  const Range part = share(ceil_div(width, step), team);
  if (part.begin == part.end) return {0, 0};
  return {part.begin * step, smaller(part.end * step, width)};
}

// The panels of the plain products that units of share_units by kPlainPanel are.
template <class T>
UNROLLED_INLINE Range plain_panels(Range units) {
  return {units.begin / kPlainPanel<T>, ceil_div(units.end, kPlainPanel<T>)};
}

// Step that stands at position s of the processing order.
UNROLLED_INLINE int64_t step_at(const Plan& plan, int64_t s) {
  return plan.reverse ? plan.T - 1 - s : s;
}

UNROLLED_INLINE bool is_reset(const Plan& plan, int64_t t, int64_t ordered_row) {
  return plan.resets != nullptr && plan.resets[t * plan.resets_step + plan.order[ordered_row]] != 0;
}

// The rows of a batch that are one member's. A team shares either the units (each member has all
// rows), so that a member's weights stay in its cache, or the rows (each member has all units), so
// that from step to step nothing passes from one member to another.
struct OwnRows {
  int64_t first, stride, end;

  // How many of them are among rows 0 .. rows - 1: own row n is row first + n * stride.
  UNROLLED_INLINE_MEMBER int64_t count(int64_t rows) const {
    return larger(0, ceil_div(smaller(rows, end) - first, stride));
  }
  UNROLLED_INLINE_MEMBER int64_t row(int64_t n) const { return first + n * stride; }

  // Calls f(row) for those in [begin, rows).
  template <class F>
  UNROLLED_INLINE_MEMBER void each(int64_t begin, int64_t rows, F&& f) const {
    for (int64_t n = count(begin); n < count(rows); ++n) f(row(n));
  }
  // These rows of a matrix, one after the other.
  template <class T>
  UNROLLED_INLINE_MEMBER Rows<T> of(T* data, int64_t row_stride) const {
    return {data + first * row_stride, row_stride * stride};
  }
};

UNROLLED_INLINE OwnRows own_rows(const Plan& plan, const Team& team, bool by_rows) {
  if (!by_rows) return {0, 1, plan.B};
  // Neighbours where all are of a length, else in turns, since the longest come first.
  const Range part = share(plan.B, team);
  return plan.ordered ? OwnRows{part.begin, 1, part.end} : OwnRows{team.rank, team.size, plan.B};
}

// Consecutive positions [begin, end) of the processing order; their tokens are the compact rows
// [first_row, first_row + rows).
struct Chunk {
  int64_t begin, end, first_row, rows;
};

UNROLLED_INLINE Chunk make_chunk(const Plan& plan, int64_t begin, int64_t end) {
  const int64_t first = step_at(plan, plan.reverse ? end - 1 : begin);
  const int64_t last = step_at(plan, plan.reverse ? begin : end - 1);
  return {begin, end, plan.offset[first], plan.offset[last + 1] - plan.offset[first]};
}

// The chunk of at least `tokens` tokens that starts at position `begin`; fewer before `last`.
UNROLLED_INLINE Chunk chunk_from(const Plan& plan, int64_t begin, int64_t last, int64_t tokens) {
  int64_t end = begin, count = 0;
  while (end < last && (end == begin || count < tokens)) count += plan.live[step_at(plan, end++)];
  return make_chunk(plan, begin, end);
}

// The i-th of the plan's chunks or windows, `count` of which begin at `begins`.
UNROLLED_INLINE Chunk planned(const Plan& plan, const int64_t* begins, int64_t count, int64_t i) {
  return make_chunk(plan, begins[i], i + 1 < count ? begins[i + 1] : plan.T);
}

// True when compact row n of the plan is row n of the user's array, so that it is used in place.
template <class Array>
UNROLLED_INLINE bool in_place(const Plan& plan, const Array& array) {
  return plan.ordered && array.step == plan.B * array.row;
}

// Calls f(compact row relative to the chunk, user's row pointer) for rows `part` of a chunk.
template <class Array, class F>
UNROLLED_INLINE void for_user_rows(const Plan& plan, const Chunk& chunk, Range part,
                                   const Array& array, F f) {
  for (int64_t s = chunk.begin; s < chunk.end; ++s) {
    const int64_t t = step_at(plan, s), start = plan.offset[t] - chunk.first_row;
    const int64_t end = smaller(plan.live[t], part.end - start);
    for (int64_t j = larger(0, part.begin - start); j < end; ++j)
      f(start + j, array.data + t * array.step + plan.order[j] * array.row);
  }
}

// The input rows of a chunk as one matrix: in place where possible, else gathered.
template <class T>
UNROLLED_INLINE Rows<const T> input_rows(const Plan& plan, const Chunk& chunk,
                                         const Sequence<const T>& x, int64_t I, T* gathered) {
  if (in_place(plan, x)) return {x.data + chunk.first_row * x.row, x.row};
  for_user_rows(plan, chunk, {0, chunk.rows}, x, [&](int64_t row, const T* from) {
    __builtin_memcpy(gathered + row * I, from, static_cast<size_t>(I) * sizeof(T));
  });
  return {gathered, I};
}

}  // namespace unrolled::UNROLLED_ISA
