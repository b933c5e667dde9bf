// Linear layer and the fused linear + softmax cross-entropy.
#pragma once

#include "kernels/gemm.hpp"
#include "kernels/outer.hpp"
#include "kernels/softmax.hpp"

namespace unrolled::UNROLLED_ISA {

template <class O, class T>
void pack_linear(const T* weight, int64_t outputs, int64_t I, T* packed, const Team& team) {
  pack_rows<O>(packed, I, kPlainPanel<T>, share(ceil_div(outputs, kPlainPanel<T>), team),
               [=](int64_t p) { return p < outputs ? weight + p * I : nullptr; });
}

template <class O, class T>
void pack_linear_t(const T* weight, int64_t outputs, int64_t I, T* packed_t, const Team& team) {
  pack_columns<O>(packed_t, outputs, I, share(ceil_div(I, kPlainPanel<T>), team),
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

// dweight (V, I) += dy^T x and dbias (V) += column sums of dy. The longer side is shared: members
// copy what they read of the other.
template <class O, class T>
inline void output_gradients(Rows<const T> dy, Rows<const T> x, int64_t rows, int64_t V, int64_t I,
                             T* dweight, T* dbias, T* scratch, const Team& team) {
  const bool by_outputs = V >= I;
  const Range outputs = by_outputs ? share(V, team) : Range{0, V};
  const Range panels =
      by_outputs ? Range{0, ceil_div(I, kPlainPanel<T>)} : share(ceil_div(I, kPlainPanel<T>), team);
  const int64_t first = panels.begin * kPlainPanel<T>;
  const int64_t end = smaller(panels.end * kPlainPanel<T>, I);
  T* const bias = first == 0 ? dbias : nullptr;
  if (!by_outputs && first >= end) return;
  accumulate_outer<O>(
      OuterProduct<T>{dy.data, dy.stride, x.data + first, x.stride, rows, end - first, scratch},
      outputs, [=](int64_t m) { return dweight + m * I + first; },
      [=](int64_t m, int64_t valid, Vec<T> sum) {
        if (bias != nullptr) store_tail(bias + m, 0, valid, load_tail(bias + m, 0, valid) + sum);
      });
}

// dx (rows, I) = dy (rows, V) W.
template <class O, class T>
inline void input_gradient(const Rows<const T>& dy, const T* packed_t, int64_t V, int64_t I,
                           int64_t rows, T* dx, T* operands) {
  multiply<kPlainVectors, O>(Product<T>{.a = dy.data,
                                        .a_stride = dy.stride,
                                        .b = packed_t,
                                        .K = V,
                                        .c = dx,
                                        .c_stride = I,
                                        .rows = rows,
                                        .columns = I,
                                        .bias = nullptr,
                                        .accumulate = false,
                                        .scratch = operands},
                             Range{0, ceil_div(I, kPlainPanel<T>)});
}

template <class T>
void linear_backward(const LinearBackwardArgs<T>& a, const Team& team) {
  using O = Full<T>;
  output_gradients<O, T>({a.dy, a.O}, {a.x, a.I}, a.N, a.O, a.I, a.dweight, a.dbias,
                         a.outer + team.rank * kOuterScratch<T>, team);
  if (a.dx == nullptr) return;
  const Range part = share(a.N, team);
  input_gradient<O, T>({a.dy + part.begin * a.O, a.O}, a.packed_t, a.O, a.I, part.end - part.begin,
                       a.dx + part.begin * a.I, nullptr);
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

template <class O, class T>
void cross_entropy(const CrossEntropyArgs<T>& a, const Team& team) {
  O::begin();
  const bool gradient = a.packed_t != nullptr;
  T* const scratch = a.outer + team.rank * kOuterScratch<T>;
  T* const operands = O::kInPlace ? nullptr : a.operands + team.rank * a.operand_size;
  int buffer = 0;
  for (int64_t begin = 0; begin < a.N; begin += a.block, buffer ^= 1) {
    const int64_t rows = smaller(a.block, a.N - begin);
    const Range part = share(rows, team);
    const int64_t own = part.end - part.begin;
    const Rows<const T> x = {a.x + begin * a.I, a.I};
    const Rows<T> logits = {a.logits[buffer].data + part.begin * a.logits[buffer].stride,
                            a.logits[buffer].stride};
    multiply<kPlainVectors, O>(Product<T>{.a = x.data + part.begin * a.I,
                                          .a_stride = a.I,
                                          .b = a.packed,
                                          .K = a.I,
                                          .c = logits.data,
                                          .c_stride = logits.stride,
                                          .rows = own,
                                          .columns = a.V,
                                          .bias = a.bias,
                                          .accumulate = false,
                                          .scratch = operands},
                               Range{0, ceil_div(a.V, kPlainPanel<T>)});
    const int64_t first = begin + part.begin;
    for (int64_t n = 0; n < own; ++n)
      a.losses[first + n] = softmax_loss(logits.data + n * logits.stride, a.V, a.targets[first + n],
                                         a.scale, a.smoothing, gradient);
    if (!gradient) continue;
    input_gradient<O, T>({logits.data, logits.stride}, a.packed_t, a.V, a.I, own,
                         a.dx + first * a.I, operands);
    sync(team);  // the other buffer is free again: everyone has passed the sync before last
    output_gradients<O, T>({a.logits[buffer].data, logits.stride}, x, rows, a.V, a.I, a.dweight,
                           a.dbias, scratch, team);
  }
  O::end();
}

// The head's kernels of one operand, as a table of an instruction set holds them.
template <class T, class O>
constexpr HeadKernels<T> head_kernels() {
  return {[](int64_t K) { return O::words(K); }, [](int64_t K) { return pass_words<O>(K); },
          pack_linear<O, T>, pack_linear_t<O, T>, cross_entropy<O, T>};
}

}  // namespace unrolled::UNROLLED_ISA
