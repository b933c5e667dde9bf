// Fused optimizer updates over flat buffers, norms, and the probes that benchmarks use.
#pragma once

#include "kernels/gemm.hpp"
#include "kernels/squares.hpp"

namespace unrolled::UNROLLED_ISA {

// Calls f(first, count) for vectors of this member's part of `size` elements; count < L at the end.
template <class T, class F>
UNROLLED_INLINE void for_vectors(int64_t size, const Team& team, F f) {
  const Range blocks = share(ceil_div(size, kLanes<T>), team);
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    const int64_t first = block * kLanes<T>;
    f(first, smaller(kLanes<T>, size - first));
  }
}

template <class T>
UNROLLED_INLINE Vec<T> load_count(const T* p, int64_t count) {
  return count == kLanes<T> ? load(p) : load_some(p, count);
}
template <class T>
UNROLLED_INLINE void store_count(T* p, Vec<T> a, int64_t count) {
  if (count == kLanes<T>)
    store(p, a);
  else
    store_some(p, a, count);
}

template <class T>
UNROLLED_INLINE Vec<T> load_gradient(const GradientArgs<T>& a, int64_t at, int64_t count) {
  const Vec<T> g = load_count(a.grads + at, count) * Vec<T>(a.scale);
  return max(min(g, Vec<T>(a.limit)), Vec<T>(-a.limit));
}

// Kingma & Ba 2015; decoupled weight decay as Loshchilov & Hutter 2019 (torch's Adam and AdamW).
template <class T>
void adam(const AdamArgs<T>& a, const Team& team) {
  using V = Vec<T>;
  const V step(a.learning_rate / a.first_correction);
  const V root(T(1) / static_cast<T>(__builtin_sqrt(static_cast<double>(a.second_correction))));
  for_vectors<T>(a.size, team, [&](int64_t at, int64_t count) {
    V value = load_count(a.values + at, count);
    V g = load_gradient(a.gradient, at, count);
    if (a.decoupled)
      value = value - V(a.learning_rate * a.weight_decay) * value;
    else
      g = multiply_add(V(a.weight_decay), value, g);
    const V m = multiply_add(V(a.beta1), load_count(a.first + at, count), V(a.fresh1) * g);
    const V v = multiply_add(V(a.beta2), load_count(a.second + at, count), V(a.fresh2) * g * g);
    value = value - step * m / multiply_add(sqrt(v), root, V(a.epsilon));
    store_count(a.first + at, m, count);
    store_count(a.second + at, v, count);
    store_count(a.values + at, value, count);
  });
}

// Momentum as Sutskever 2013 in torch's form: v = momentum * v + g; step along v (or g + momentum
// * v with Nesterov).
template <class T>
void sgd(const SgdArgs<T>& a, const Team& team) {
  using V = Vec<T>;
  for_vectors<T>(a.size, team, [&](int64_t at, int64_t count) {
    const V value = load_count(a.values + at, count);
    V g = multiply_add(V(a.weight_decay), value, load_gradient(a.gradient, at, count));
    if (a.velocity != nullptr) {
      const V v = multiply_add(V(a.momentum), load_count(a.velocity + at, count), g);
      store_count(a.velocity + at, v, count);
      g = a.nesterov ? multiply_add(V(a.momentum), v, g) : v;
    }
    store_count(a.values + at, value - V(a.learning_rate) * g, count);
  });
}

// Tieleman & Hinton 2012; centered as Graves 2013; torch's RMSprop.
template <class T>
void rmsprop(const RmspropArgs<T>& a, const Team& team) {
  using V = Vec<T>;
  for_vectors<T>(a.size, team, [&](int64_t at, int64_t count) {
    const V value = load_count(a.values + at, count);
    const V g = multiply_add(V(a.weight_decay), value, load_gradient(a.gradient, at, count));
    const V square = multiply_add(V(a.alpha), load_count(a.square + at, count), V(a.fresh) * g * g);
    store_count(a.square + at, square, count);
    V variance = square;
    if (a.mean != nullptr) {
      const V mean = multiply_add(V(a.alpha), load_count(a.mean + at, count), V(a.fresh) * g);
      store_count(a.mean + at, mean, count);
      variance = max(square - mean * mean, V(T(0)));  // rounding can leave it below zero
    }
    V step = g / (sqrt(variance) + V(a.epsilon));
    if (a.velocity != nullptr) {
      step = multiply_add(V(a.momentum), load_count(a.velocity + at, count), step);
      store_count(a.velocity + at, step, count);
    }
    store_count(a.values + at, value - V(a.learning_rate) * step, count);
  });
}

template <class T>
void average(const T* values, T* average, int64_t size, T weight, const Team& team) {
  for_vectors<T>(size, team, [&](int64_t at, int64_t count) {
    const Vec<T> mean = load_count(average + at, count);
    const Vec<T> away = load_count(values + at, count) - mean;
    store_count(average + at, multiply_add(Vec<T>(weight), away, mean), count);
  });
}

template <class T>
void square_sums(const T* values, int64_t size, double* sums, const Team& team) {
  const Range blocks = share(ceil_div(size, kNormBlock), team);
  for (int64_t block = blocks.begin; block < blocks.end; ++block)
    sums[block] =
        sum_squares(values + block * kNormBlock, smaller(kNormBlock, size - block * kNormBlock));
}

template <class T>
void apply_math(MathFunction function, const T* x, T* y, int64_t size) {
  for_vectors<T>(size, Team{0, 1, nullptr, nullptr}, [&](int64_t at, int64_t count) {
    const Vec<T> v = load_count(x + at, count);
    store_count(y + at,
                function == MathFunction::kExp       ? exp(v)
                : function == MathFunction::kSigmoid ? sigmoid(v)
                : function == MathFunction::kTanh    ? tanh(v)
                                                     : log1p(v),
                count);
  });
}

// Independent chains of multiply-adds, enough to hide their latency: the FMA peak.
template <class T>
double run_fma(int64_t rounds) {
  constexpr int kChains = 12;
  Vec<T> sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = Vec<T>(static_cast<T>(i));
  // Not known to the compiler, which would find a chain that stays where it begins, and leave it
  // out.
  volatile T values[] = {T(0.999), T(1e-3)};
  const Vec<T> factor(values[0]), term(values[1]);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = multiply_add(sums[i], factor, term);
  }
  T total(0);
  for (int i = 0; i < kChains; ++i) total += sum_lanes(sums[i]);
  volatile T sink = total;
  (void)sink;
  return 2.0 * kChains * kLanes<T> * static_cast<double>(rounds);
}

// A read of the whole array: the bandwidth of the level of memory that holds it.
template <class T>
T sum_all(const T* values, int64_t size) {
  constexpr int kChains = 8;
  Vec<T> sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = Vec<T>(T(0));
  for (int64_t at = 0; at + kChains * kLanes<T> <= size; at += kChains * kLanes<T>)
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] + load(values + at + i * kLanes<T>);
  T total(0);
  for (int i = 0; i < kChains; ++i) total += sum_lanes(sums[i]);
  return total;
}

}  // namespace unrolled::UNROLLED_ISA
