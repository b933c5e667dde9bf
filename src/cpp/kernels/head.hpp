// Linear layer and the fused linear + softmax cross-entropy.
#pragma once

#include "kernels/gemm.hpp"
#include "kernels/outer.hpp"
#include "kernels/softmax.hpp"

namespace unrolled::UNROLLED_ISA {

template <class T>
void pack_linear(const T* weight, int64_t O, int64_t I, T* packed, const Team& team) {
  pack_rows<Full<T>>(packed, I, kPlainPanel<T>, share(ceil_div(O, kPlainPanel<T>), team),
                     [=](int64_t p) { return p < O ? weight + p * I : nullptr; });
}

template <class T>
void pack_linear_t(const T* weight, int64_t O, int64_t I, T* packed_t, const Team& team) {
  pack_columns<Full<T>>(packed_t, O, I, share(ceil_div(I, kPlainPanel<T>), team),
                        [=](int64_t k) { return weight + k * I; });
}

template <class T>
void linear(const LinearArgs<T>& a, const Team& team) {
  const int64_t count = ceil_div(a.O, kPlainPanel<T>);
  // Many rows are shared by rows; a few (a step of a stream) by columns, so that each member reads
  // only its part of the weights.
  const bool by_rows = a.N >= 8 * team.size;
  const Range rows = by_rows ? share(a.N, team) : Range{0, a.N};
  const Range panels = by_rows ? Range{0, count} : share(count, team);
  multiply<kPlainVectors, Full<T>>(Product<T>{.a = a.x + rows.begin * a.I,
                                              .a_stride = a.I,
                                              .b = a.packed,
                                              .K = a.I,
                                              .c = a.y + rows.begin * a.O,
                                              .c_stride = a.O,
                                              .rows = rows.end - rows.begin,
                                              .columns = a.O,
                                              .bias = a.bias,
                                              .accumulate = false},
                                   panels);
}

// dweight (O, I) += dy^T x and dbias (O) += column sums of dy. The longer side is shared: members
// copy what they read of the other.
template <class T>
inline void output_gradients(Rows<const T> dy, Rows<const T> x, int64_t rows, int64_t O, int64_t I,
                             T* dweight, T* dbias, T* scratch, const Team& team) {
  const bool by_outputs = O >= I;
  const Range outputs = by_outputs ? share(O, team) : Range{0, O};
  const Range panels =
      by_outputs ? Range{0, ceil_div(I, kPlainPanel<T>)} : share(ceil_div(I, kPlainPanel<T>), team);
  const int64_t first = panels.begin * kPlainPanel<T>;
  const int64_t end = smaller(panels.end * kPlainPanel<T>, I);
  T* const bias = first == 0 ? dbias : nullptr;
  if (!by_outputs && first >= end) return;
  accumulate_outer<Full<T>>(
      OuterProduct<T>{dy.data, dy.stride, x.data + first, x.stride, rows, end - first, scratch},
      outputs, [=](int64_t m) { return dweight + m * I + first; },
      [=](int64_t m, int64_t valid, Vec<T> sum) {
        if (bias != nullptr) store_tail(bias + m, 0, valid, load_tail(bias + m, 0, valid) + sum);
      });
}

// dx (rows, I) = dy (rows, O) W for rows in `part`.
template <class T>
inline void input_gradient(Rows<const T> dy, const T* packed_t, int64_t O, int64_t I, Range part,
                           T* dx) {
  multiply<kPlainVectors, Full<T>>(Product<T>{.a = dy.data + part.begin * dy.stride,
                                              .a_stride = dy.stride,
                                              .b = packed_t,
                                              .K = O,
                                              .c = dx + part.begin * I,
                                              .c_stride = I,
                                              .rows = part.end - part.begin,
                                              .columns = I,
                                              .bias = nullptr,
                                              .accumulate = false},
                                   Range{0, ceil_div(I, kPlainPanel<T>)});
}

template <class T>
void linear_backward(const LinearBackwardArgs<T>& a, const Team& team) {
  const Rows<const T> dy{a.dy, a.O};
  output_gradients(dy, {a.x, a.I}, a.N, a.O, a.I, a.dweight, a.dbias,
                   a.outer + team.rank * kOuterScratch<T>, team);
  if (a.dx != nullptr) input_gradient(dy, a.packed_t, a.O, a.I, share(a.N, team), a.dx);
}

// Loss of one row of V logits, in nats. With `gradient` the logits are replaced by
// scale * (softmax - p), where p is onehot(target) or, with smoothing s, (1 - s) onehot + s / V. A
// row with a negative target counts for nothing.
template <class T>
inline T softmax_loss(T* logits, int64_t V, int64_t target, T scale, T smoothing, bool gradient) {
  if (target < 0) {
    if (gradient)
      for (int64_t v = 0; v < V; ++v) logits[v] = T(0);
    return T(0);
  }
  constexpr int L = kLanes<T>;
  const T top = largest_logit(logits, V);
  T expected_logit = logits[target];
  if (smoothing > T(0)) {
    Vec<T> sum(T(0));
    for (int64_t v = 0; v < V; v += L) sum = sum + load_tail(logits, v, V);
    expected_logit += smoothing * (sum_lanes(sum) / static_cast<T>(V) - expected_logit);
  }
  Vec<T> total(T(0));
  for (int64_t v = 0; v < V; v += L) {
    // NaN logits survive: exp and the sum keep them, and `top` cannot hide them.
    const Vec<T> e = exp(load_logits(logits, v, V) - Vec<T>(top));
    total = total + e;
    if (gradient) store_tail(logits, v, V, e);
  }
  const T sum = sum_lanes(total);
  if (gradient) {
    const Vec<T> factor(scale / sum);
    const Vec<T> shared(-scale * smoothing / static_cast<T>(V));
    for (int64_t v = 0; v < V; v += L)
      store_tail(logits, v, V, multiply_add(load_tail(logits, v, V), factor, shared));
    logits[target] -= scale * (T(1) - smoothing);
  }
  return static_cast<T>(__builtin_log(static_cast<double>(sum))) + (top - expected_logit);
}

template <class T>
void cross_entropy(const CrossEntropyArgs<T>& a, const Team& team) {
  const int64_t panels = ceil_div(a.V, kPlainPanel<T>);
  const bool gradient = a.packed_t != nullptr;
  T* scratch = a.outer + team.rank * kOuterScratch<T>;
  int buffer = 0;
  for (int64_t begin = 0; begin < a.N; begin += a.block, buffer ^= 1) {
    const int64_t rows = smaller(a.block, a.N - begin);
    const Range part = share(rows, team);
    const Rows<T>& logits = a.logits[buffer];
    const T* x = a.x + begin * a.I;
    multiply<kPlainVectors, Full<T>>(Product<T>{.a = x + part.begin * a.I,
                                                .a_stride = a.I,
                                                .b = a.packed,
                                                .K = a.I,
                                                .c = logits.data + part.begin * logits.stride,
                                                .c_stride = logits.stride,
                                                .rows = part.end - part.begin,
                                                .columns = a.V,
                                                .bias = a.bias,
                                                .accumulate = false},
                                     Range{0, panels});
    for (int64_t n = part.begin; n < part.end; ++n)
      a.losses[begin + n] = softmax_loss(logits.data + n * logits.stride, a.V, a.targets[begin + n],
                                         a.scale, a.smoothing, gradient);
    if (!gradient) continue;
    const Rows<const T> d{logits.data, logits.stride};
    input_gradient(d, a.packed_t, a.V, a.I, part, a.dx + begin * a.I);
    sync(team);  // the other buffer is free again: everyone has passed the sync before last
    output_gradients(d, Rows<const T>{x, a.I}, rows, a.V, a.I, a.dweight, a.dbias, scratch, team);
  }
}

}  // namespace unrolled::UNROLLED_ISA
