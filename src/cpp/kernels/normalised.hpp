// A step of a cell whose products are normalised, for which a row has to be whole: all members do
// their part of the product, meet, and go through rows of it.
#pragma once

#include "kernels/layout.hpp"

namespace unrolled::UNROLLED_ISA {

// Added to variances, as in torch.nn.LayerNorm.
inline constexpr double kNormEpsilon = 1e-5;

template <class T>
struct RowMoments {
  T mean, inverse;  // one over the standard deviation

  UNROLLED_INLINE_MEMBER Vec<T> normalised(Vec<T> x) const {
    return (x - Vec<T>(mean)) * Vec<T>(inverse);
  }
};

// Those of a row of H units with G packed gates: the mean first, then squares around it.
template <int G, class T>
UNROLLED_INLINE RowMoments<T> moments_of(const T* row, int64_t H) {
  constexpr int L = kLanes<T>;
  const int64_t whole = H / L, rest = H % L;
  const T count = static_cast<T>(G * H);
  const auto sum = [&](Vec<T> padding, auto term) UNROLLED_INLINE_LAMBDA {
    Vec<T> sums[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) sums[g] = Vec<T>(T(0));
    for (int64_t block = 0; block < whole; ++block)
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) sums[g] = term(load(row + (block * G + g) * L), sums[g]);
    for (int g = 0; rest > 0 && g < G; ++g)
      sums[g] = term(load_some(row + (whole * G + g) * L, rest, padding), sums[g]);
#pragma GCC unroll 4
    for (int g = 1; g < G; ++g) sums[0] = sums[0] + sums[g];
    return sum_lanes(sums[0]);
  };
  const T mean =
      sum(Vec<T>(T(0)), [](Vec<T> x, Vec<T> so_far) UNROLLED_INLINE_LAMBDA { return so_far + x; }) /
      count;
  const T squares = sum(Vec<T>(mean), [mean](Vec<T> x, Vec<T> so_far) UNROLLED_INLINE_LAMBDA {
    const Vec<T> away = x - Vec<T>(mean);
    return multiply_add(away, away, so_far);
  });
  const T variance = squares / count + T(kNormEpsilon);
  if constexpr (sizeof(T) == 4)
    return {mean, T(1) / __builtin_sqrtf(variance)};
  else
    return {mean, T(1) / __builtin_sqrt(variance)};
}

// The packed parameters of the norms. Those of padded units are zero.
template <class T>
struct NormVectors {
  const T *gain_input, *gain_recurrent, *gain_cell, *shift_cell;

  NormVectors(const PackedLayer<T>& w, int64_t bias_width, int64_t state_width)
      : gain_input(w.norm),
        gain_recurrent(w.norm + bias_width),
        gain_cell(w.norm + 2 * bias_width),
        shift_cell(w.norm + 2 * bias_width + state_width) {}
};

// Rows whose whole width a member goes through, of `rows` that it computes with others or alone.
template <class Scan>
UNROLLED_INLINE OwnRows whole_rows(const Scan& scan, const OwnRows& mine, int64_t rows) {
  if (scan.by_rows) return mine;
  const Range part = share(rows, scan.team);
  return {part.begin, 1, part.end};
}

// Normalises the input part of a chunk where it lies.
template <class Cell, class O, class Scan, class T>
inline void normalise_input(const Scan& scan, const ForwardArgs<T>& a, const Chunk& chunk) {
  using Y = Layout<Cell, T, O>;
  if (!scan.by_rows) sync(scan.team);
  whole_rows(scan, scan.own, chunk.rows).each(0, chunk.rows, [&](int64_t row) {
    T* x = a.gates.data + row * a.gates.stride;
    const RowMoments<T> moments = moments_of<Y::G>(x, scan.H);
    for (int64_t p = 0; p < Y::gate_width(scan.H); p += Y::L)
      store(x + p, moments.normalised(load(x + p)));
    if (a.saved != nullptr)
      a.moments[2 * (chunk.first_row + row - scan.first_saved)] = moments.inverse;
  });
}

// Forward::advance of such a cell.
template <class Cell, class O, class Scan, class T>
UNROLLED_INLINE void advance_normalised(const Scan& scan, const OwnRows& mine, int64_t entering,
                                        int64_t live, int64_t leaving, int64_t token,
                                        const Chunk& chunk, const Sequence<T>& y,
                                        const int64_t* order) {
  using V = Vec<T>;
  using Y = Layout<Cell, T, O>;
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, L = Y::L;
  const ForwardArgs<T>& a = scan.a;
  const PackedLayer<T>& w = scan.w;
  const int64_t H = w.H, blocks = Y::blocks(H);
  const NormVectors<T> norm(w, Y::bias_width(H), blocks * L);
  const Rows<const T> h = mine.template of<const T>(
      a.states[0].data + entering * a.states[0].stride, a.states[0].stride);
  const Rows<T> product = mine.of(a.middle.data, a.middle.stride);
  multiply<Y::kVectors, O>(Product<T>{.a = h.data,
                                      .a_stride = h.stride,
                                      .b = w.recurrent,
                                      .K = H,
                                      .c = product.data,
                                      .c_stride = product.stride,
                                      .rows = mine.count(live),
                                      .columns = Y::gate_width(H),
                                      .bias = nullptr,
                                      .accumulate = false},
                           scan.panels);
  if (!scan.by_rows) sync(scan.team);
  whole_rows(scan, mine, live).each(0, live, [&](int64_t row) {
    const T* const x_row = a.gates.data + (token + row - chunk.first_row) * a.gates.stride;
    const T* const r_row = a.middle.data + row * a.middle.stride;
    const RowMoments<T> moments = moments_of<G>(r_row, H);
    T* to[S];
    for (int k = 0; k < S; ++k)
      to[k] = leaving < 0 ? nullptr : a.states[k].data + (leaving + row) * a.states[k].stride;
    T* const y_row = y.data == nullptr ? nullptr : y.data + order[row] * y.row;
    if (a.saved != nullptr) a.moments[2 * (token + row - scan.first_saved) + 1] = moments.inverse;
    for (int64_t block = 0; block < blocks; ++block) {
      V x[G], r[G], state[S], next[S], saved[Y::kSaved];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const int64_t p = (block * G + g) * L;
        const V r_hat = moments.normalised(load(r_row + p)), x_hat = load(x_row + p);
        x[g] = multiply_add(x_hat, load(norm.gain_input + p), load(w.bias_input + p));
        r[g] = multiply_add(r_hat, load(norm.gain_recurrent + p), load(w.bias_recurrent + p));
        saved[Cell::kSavedCount + g] = x_hat;
        saved[Cell::kSavedCount + G + g] = r_hat;
      }
#pragma GCC unroll 2
      for (int k = 0; k < S; ++k)
        state[k] = load(a.states[k].data + (entering + row) * a.states[k].stride + block * L);
      Cell::forward(x, r, state, next, saved);
      if (leaving >= 0)
#pragma GCC unroll 2
        for (int k = 0; k < S; ++k) store(to[k] + block * L, next[k]);
      if (!Cell::kNormalisesCell && y_row != nullptr) store_tail(y_row, block * L, H, next[0]);
      if (a.saved == nullptr) continue;
      T* values = Y::saved_at(a.saved, a.saved_rows, block, token + row - scan.first_saved);
#pragma GCC unroll 16
      for (int i = 0; i < Y::kSaved; ++i) store(values + i * L, saved[i]);
    }
    if constexpr (Cell::kNormalisesCell) {
      if (leaving < 0) return;
      const RowMoments<T> of_cell = moments_of<1>(to[1], H);
      for (int64_t u = 0; u < blocks * L; u += L) {
        const V n = multiply_add(of_cell.normalised(load(to[1] + u)), load(norm.gain_cell + u),
                                 load(norm.shift_cell + u));
        const V out = Cell::output(load(to[0] + u), n);
        store(to[0] + u, out);
        if (y_row != nullptr) store_tail(y_row, u, H, out);
      }
    }
  });
  if (!scan.by_rows) sync(scan.team);
}

}  // namespace unrolled::UNROLLED_ISA
