// The log-probabilities of one row of logits, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace unrolled {

inline constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// log of the sum of e^z over V >= 1 logits.
template <class T>
double log_normaliser(const T* z, int64_t V) {
  const double top = static_cast<double>(*std::max_element(z, z + V));
  double sum = 0.0;
  for (int64_t v = 0; v < V; ++v) sum += std::exp(static_cast<double>(z[v]) - top);
  return top + std::log(sum);
}

template <class T>
void log_softmax(const T* z, int64_t V, double* log_p) {
  const double normaliser = log_normaliser(z, V);
  for (int64_t v = 0; v < V; ++v) log_p[v] = static_cast<double>(z[v]) - normaliser;
}

}  // namespace unrolled
