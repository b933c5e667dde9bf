// What simd/math.hpp gives for a Vec, for V = float: the operations that a cell may use.
//
// The precise functions of CUDA: at most 2 ULP for exp and tanh, 3 ULP for sigmoid.
#pragma once

#include "cuda/device.hpp"

#define UNROLLED_INLINE static __host__ __device__ inline
#define UNROLLED_OUTLINE UNROLLED_INLINE  // a call would need a stack

namespace unrolled::cuda {

UNROLLED_INLINE float multiply_add(float a, float b, float c) { return ::fmaf(a, b, c); }

// `a` where x > 0, else `b`; a NaN in x selects b.
UNROLLED_INLINE float where_positive(float x, float a, float b) { return x > 0.0f ? a : b; }

// Both keep a NaN that is in `a`.
UNROLLED_INLINE float min(float a, float b) { return a > b ? b : a; }
UNROLLED_INLINE float max(float a, float b) { return a < b ? b : a; }

UNROLLED_INLINE float reciprocal(float a) { return 1.0f / a; }
UNROLLED_INLINE float sqrt(float a) { return ::sqrtf(a); }
UNROLLED_INLINE float exp(float x) { return ::expf(x); }
UNROLLED_INLINE float sigmoid(float x) { return 1.0f / (1.0f + ::expf(-x)); }
UNROLLED_INLINE float tanh(float x) { return ::tanhf(x); }
UNROLLED_INLINE float log1p(float x) { return ::log1pf(x); }

}  // namespace unrolled::cuda
