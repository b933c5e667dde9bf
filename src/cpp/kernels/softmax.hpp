// What losses, attention and the search for words share: rows of logits, read to their very end.
#pragma once

#include "simd/math.hpp"

namespace unrolled::UNROLLED_ISA {

// Logits from `v` on of a row of V. Lanes behind the last one read as -inf; their exp is the least
// that exp gives, which vanishes in a sum of at least 1.
template <class T>
UNROLLED_INLINE Vec<T> load_logits(const T* logits, int64_t v, int64_t V) {
  constexpr int L = kLanes<T>;
  const Vec<T> lowest(static_cast<T>(-__builtin_huge_val()));
  return v + L <= V ? load(logits + v) : load_some(logits + v, V - v, lowest);
}

template <class T>
inline T largest_logit(const T* logits, int64_t V) {
  Vec<T> best(static_cast<T>(-__builtin_huge_val()));
  for (int64_t v = 0; v < V; v += kLanes<T>) best = max(best, load_logits(logits, v, V));
  return max_lane(best);
}

// log of the sum of e^x over V numbers. NaN where one is NaN.
template <class T>
inline T log_sum_exp(const T* x, int64_t V) {
  const T top = largest_logit(x, V);
  Vec<T> total(T(0));
  for (int64_t v = 0; v < V; v += kLanes<T>)
    total = total + exp(load_logits(x, v, V) - Vec<T>(top));
  return top + static_cast<T>(__builtin_log(static_cast<double>(sum_lanes(total))));
}

}  // namespace unrolled::UNROLLED_ISA
