// Pair<V>: two vectors that go through the same arithmetic side by side. exp and tanh are chains of
// some 20 dependent instructions; a core that waits for one such chain at a time does half its
// work. Written once on V, a cell interleaves two of them when V is a Pair.
#pragma once

#include "simd/vec.hpp"

namespace unrolled::UNROLLED_ISA {

template <class V>
struct Pair {
  using Scalar = typename V::Scalar;
  V first, second;

  UNROLLED_INLINE_MEMBER Pair() = default;
  UNROLLED_INLINE_MEMBER Pair(V a, V b) : first(a), second(b) {}
  UNROLLED_INLINE_MEMBER Pair(Scalar scalar) : first(scalar), second(scalar) {}
};

#define UNROLLED_PAIR_1(name)                          \
  template <class V>                                   \
  UNROLLED_INLINE Pair<V> name(Pair<V> a) {            \
    return {name(a.first), name(a.second)};            \
  }
#define UNROLLED_PAIR_2(name)                                    \
  template <class V>                                             \
  UNROLLED_INLINE Pair<V> name(Pair<V> a, Pair<V> b) {           \
    return {name(a.first, b.first), name(a.second, b.second)};   \
  }
#define UNROLLED_PAIR_3(name)                                                      \
  template <class V>                                                               \
  UNROLLED_INLINE Pair<V> name(Pair<V> a, Pair<V> b, Pair<V> c) {                  \
    return {name(a.first, b.first, c.first), name(a.second, b.second, c.second)};  \
  }
UNROLLED_PAIR_1(operator-)
UNROLLED_PAIR_1(reciprocal)
UNROLLED_PAIR_1(power_of_two)
UNROLLED_PAIR_1(magnitude)
UNROLLED_PAIR_2(operator+)
UNROLLED_PAIR_2(operator-)
UNROLLED_PAIR_2(operator*)
UNROLLED_PAIR_2(operator/)
UNROLLED_PAIR_2(min)
UNROLLED_PAIR_2(max)
UNROLLED_PAIR_2(with_sign)
UNROLLED_PAIR_3(multiply_add)
UNROLLED_PAIR_3(where_positive)
#undef UNROLLED_PAIR_1
#undef UNROLLED_PAIR_2
#undef UNROLLED_PAIR_3

// How code that is written on V reaches the vectors in it: make(f) builds a V from f(0), f(1) ...,
// each(a, f) calls f(i, part i).
template <class V>
struct Parts;
template <class T>
struct Parts<Vec<T>> {
  static constexpr int kCount = 1;
  template <class F>
  UNROLLED_INLINE Vec<T> make(F f) {
    return f(0);
  }
  template <class F>
  UNROLLED_INLINE void each(Vec<T> a, F f) {
    f(0, a);
  }
};
template <class V>
struct Parts<Pair<V>> {
  static constexpr int kCount = 2;
  template <class F>
  UNROLLED_INLINE Pair<V> make(F f) {
    return {f(0), f(1)};
  }
  template <class F>
  UNROLLED_INLINE void each(Pair<V> a, F f) {
    f(0, a.first), f(1, a.second);
  }
};

}  // namespace unrolled::UNROLLED_ISA
