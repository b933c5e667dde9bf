// bfloat16, the upper half of a float: what products multiply in reduced precision. Sums, states
// and everything element-wise stay float. An operand E of a product is float or Bf16.
#pragma once

#include <cstring>

#include "cuda/device.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {

__host__ __device__ inline float to_float(float value) { return value; }
__host__ __device__ inline float to_float(Bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

template <class E>
__host__ __device__ E rounded(float value);
template <>
__host__ __device__ inline float rounded<float>(float value) {
  return value;
}
// To nearest, ties to even.
template <>
__host__ __device__ inline Bf16 rounded<Bf16>(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (value != value) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <class E>
inline constexpr bool kIsRounded = sizeof(E) < sizeof(float);

// Floats that hold so many operands.
template <class E>
__host__ __device__ int64_t floats_of(int64_t count) {
  constexpr int64_t kEach = sizeof(float) / sizeof(E);
  return (count + kEach - 1) / kEach;
}

}  // namespace unrolled::cuda
