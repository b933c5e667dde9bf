// Attention of queries over the memory of one source.
//
//   score(t, s) = q_t . k_s                      (Luong, Pham and Manning 2015; their "general"
//   score
//                                                 multiplies the queries by a matrix beforehand)
//   score(t, s) = v . tanh(q_t + k_s)            (Bahdanau, Cho and Bengio 2015, additive)
//   a_t = softmax of score(t, .) over the S places of the source
//   c_t = sum_s a_ts value_s
//
// Products go through the micro-kernel, so that a context has the same bits whether its query comes
// alone or with others. The tanh of all pairs, by far the largest array, is never stored: BPTT
// computes it again.
#pragma once

#include "kernels/gemm.hpp"
#include "kernels/outer.hpp"
#include "kernels/softmax.hpp"

namespace unrolled::UNROLLED_ISA {

// Sources are short: panels over their places are narrow, so that little of one is padding.
inline constexpr int kSourceVectors = 2;
template <class T>
inline constexpr int kSourcePanel = kSourceVectors * kLanes<T>;

// Rows (S, K) as columns of panels over S: for x rows^T.
template <class T>
void pack_source_rows(Rows<const T> rows, int64_t S, int64_t K, T* packed) {
  pack_rows<Full<T>>(packed, K, kSourcePanel<T>, {0, ceil_div(S, kSourcePanel<T>)},
                     [=](int64_t s) { return s < S ? rows.data + s * rows.stride : nullptr; });
}

// Rows (S, K) as rows of panels over K: for x rows, with x (., S).
template <class T>
void pack_source_columns(Rows<const T> rows, int64_t S, int64_t K, T* packed) {
  pack_columns<Full<T>>(packed, S, K, {0, ceil_div(K, kPlainPanel<T>)},
                        [=](int64_t s) { return rows.data + s * rows.stride; });
}

// C (rows, columns) = A (rows, K) B, all of B packed with NV vectors a panel.
template <int NV, class T>
inline void multiply_all(Rows<const T> a, const T* b, int64_t K, Rows<T> c, int64_t rows,
                         int64_t columns) {
  multiply<NV, Full<T>>(Product<T>{.a = a.data,
                                   .a_stride = a.stride,
                                   .b = b,
                                   .K = K,
                                   .c = c.data,
                                   .c_stride = c.stride,
                                   .rows = rows,
                                   .columns = columns,
                                   .bias = nullptr,
                                   .accumulate = false},
                        Range{0, ceil_div(columns, NV * kLanes<T>)});
}

template <class T>
inline T additive_score(const T* query, const T* key, const T* vector, int64_t K) {
  Vec<T> sum(T(0));
  for (int64_t k = 0; k < K; k += kLanes<T>)
    sum = multiply_add(load_tail(vector, k, K), tanh(load_tail(query, k, K) + load_tail(key, k, K)),
                       sum);
  return sum_lanes(sum);
}

template <class T>
inline void softmax_in_place(T* row, int64_t S) {
  const Vec<T> top(largest_logit(row, S));
  Vec<T> total(T(0));
  for (int64_t s = 0; s < S; s += kLanes<T>) {
    const Vec<T> e = exp(load_logits(row, s, S) - top);
    total = total + e;
    store_tail(row, s, S, e);
  }
  const Vec<T> factor(T(1) / sum_lanes(total));
  for (int64_t s = 0; s < S; s += kLanes<T>) store_tail(row, s, S, load_tail(row, s, S) * factor);
}

template <class T>
void attention(const AttentionArgs<T>& a) {
  const int64_t S = a.source.S;
  if (a.vector == nullptr) {
    multiply_all<kSourceVectors>(a.queries, a.source.keys, a.K, a.weights, a.steps, S);
  } else {
    for (int64_t t = 0; t < a.steps; ++t)
      for (int64_t s = 0; s < S; ++s)
        a.weights.data[t * a.weights.stride + s] = additive_score(
            a.queries.data + t * a.queries.stride, a.source.keys + s * a.K, a.vector, a.K);
  }
  for (int64_t t = 0; t < a.steps; ++t) softmax_in_place(a.weights.data + t * a.weights.stride, S);
  const Rows<const T> weights{a.weights.data, a.weights.stride};
  multiply_all<kPlainVectors>(weights, a.source.values, S, a.contexts, a.steps, a.M);
}

// Of one step: da, the gradient of the weights, becomes that of the scores, a * (da - a . da).
template <class T>
inline void softmax_backward(const T* weights, T* gradient, int64_t S) {
  Vec<T> sum(T(0));
  for (int64_t s = 0; s < S; s += kLanes<T>)
    sum = multiply_add(load_tail(weights, s, S), load_tail(gradient, s, S), sum);
  const Vec<T> mean(sum_lanes(sum));
  for (int64_t s = 0; s < S; s += kLanes<T>)
    store_tail(gradient, s, S, load_tail(weights, s, S) * (load_tail(gradient, s, S) - mean));
}

// C (S, columns) += A^T B with A (steps, S), B (steps, columns).
template <class T>
inline void add_outer(Rows<const T> a, Rows<const T> b, Rows<T> c, int64_t steps, int64_t S,
                      int64_t columns, T* scratch) {
  accumulate_outer<Full<T>>(
      OuterProduct<T>{a.data, a.stride, b.data, b.stride, steps, columns, scratch}, {0, S},
      [=](int64_t s) { return c.data + s * c.stride; }, [](int64_t, int64_t, Vec<T>) {});
}

// Carries the gradients of additive scores to whatever of queries, keys and vector is wanted.
template <class T>
inline void additive_backward(const AttentionBackwardArgs<T>& a) {
  constexpr int L = kLanes<T>;
  for (int64_t k = 0; k < a.K; k += L) {
    const Vec<T> v = load_tail(a.vector, k, a.K);
    Vec<T> dv(T(0));
    for (int64_t t = 0; t < a.steps; ++t) {
      const Vec<T> query = load_tail(a.queries.data + t * a.queries.stride, k, a.K);
      const T* dscores = a.dscores.data + t * a.dscores.stride;
      Vec<T> dquery(T(0));
      for (int64_t s = 0; s < a.source.S; ++s) {
        const Vec<T> u = tanh(query + load_tail(a.source.keys + s * a.K, k, a.K));
        const Vec<T> dscore(dscores[s]), scaled = dscore * v, slope = Vec<T>(T(1)) - u * u;
        // Two products rather than a shared one, which would be rounded before it is added: so the
        // compiler fuses each, and no bit depends on which sums are wanted.
        dquery = multiply_add(scaled, slope, dquery);
        if (a.dkeys.data == nullptr) continue;
        dv = multiply_add(dscore, u, dv);
        T* dkey = a.dkeys.data + s * a.dkeys.stride;
        store_tail(dkey, k, a.K, multiply_add(dscore, v * slope, load_tail(dkey, k, a.K)));
      }
      if (a.dqueries.data != nullptr)
        store_tail(a.dqueries.data + t * a.dqueries.stride, k, a.K, dquery);
    }
    if (a.dkeys.data != nullptr) store_tail(a.dvector, k, a.K, load_tail(a.dvector, k, a.K) + dv);
  }
}

template <class T>
void attention_backward(const AttentionBackwardArgs<T>& a) {
  const int64_t S = a.source.S;
  if (!a.scored) {
    multiply_all<kSourceVectors>(a.dcontexts, a.source.values_t, a.M, a.dscores, a.steps, S);
    for (int64_t t = 0; t < a.steps; ++t)
      softmax_backward(a.weights.data + t * a.weights.stride, a.dscores.data + t * a.dscores.stride,
                       S);
  }
  const Rows<const T> dscores{a.dscores.data, a.dscores.stride};
  if (a.dvalues.data != nullptr)
    add_outer(a.weights, a.dcontexts, a.dvalues, a.steps, S, a.M, a.outer);
  if (a.vector != nullptr) {
    additive_backward(a);
    return;
  }
  if (a.dqueries.data != nullptr)
    multiply_all<kPlainVectors>(dscores, a.source.keys_t, S, a.dqueries, a.steps, a.K);
  if (a.dkeys.data != nullptr) add_outer(dscores, a.queries, a.dkeys, a.steps, S, a.K, a.outer);
}

}  // namespace unrolled::UNROLLED_ISA
