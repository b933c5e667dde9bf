// Probes of the machine for benchmarks, and the kernels' math functions for tests.
#pragma once

#include "api/array.hpp"
#include "kernels/table.hpp"

namespace unrolled {

// Floating-point operations a second of independent multiply-adds, all threads together.
template <class T>
double measure_fma_peak();

// Bytes a second that all threads together read, each from `bytes` of its own, over and over.
double measure_bandwidth(int64_t bytes);

// y (N) = function(x (N)).
template <class T>
void run_math(MathFunction function, const ArrayView& x, const ArrayView& y);

}  // namespace unrolled
