// Rows of tokens: between a user's array and the compact order of the plan, and sums over them.
#pragma once

#include "cuda/flat.hpp"

namespace unrolled::cuda {

inline constexpr int kRowThreads = 128;

// The rows of a user's (T, B, width) array and, one after the other, those of its live tokens.
template <class T, class E>
struct TokenRows {
  Plan plan;
  Sequence<T> user;
  E* compact;
  int64_t width;
  bool add;  // to the user's
};

// The step of a token and the user's row of the batch.
struct Place {
  int64_t t, user_row;
};

__device__ inline Place place_of(const Plan& plan, int64_t token) {
  int64_t t = 0;
  for (int64_t end = plan.T; end - t > 1;) {  // offset[t] <= token < offset[end]
    const int64_t middle = (t + end) / 2;
    (plan.offset[middle] <= token ? t : end) = middle;
  }
  return {t, user_row(plan, token - plan.offset[t])};
}

// The user's row of a token.
template <class T, class E>
__device__ T* row_of(const TokenRows<T, E>& a, int64_t token) {
  const Place place = place_of(a.plan, token);
  return a.user.data + place.t * a.user.step + place.user_row * a.user.row;
}

// One block per token.
template <class E>
__global__ void gather_rows(TokenRows<const float, E> a) {
  const float* from = row_of(a, blockIdx.x);
  E* to = a.compact + blockIdx.x * a.width;
  for (int64_t i = threadIdx.x; i < a.width; i += blockDim.x) to[i] = rounded<E>(from[i]);
}

static __global__ void scatter_rows(TokenRows<float, float> a) {
  float* to = row_of(a, blockIdx.x);
  const float* from = a.compact + blockIdx.x * a.width;
  for (int64_t i = threadIdx.x; i < a.width; i += blockDim.x)
    to[i] = a.add ? to[i] + from[i] : from[i];
}

// to = rounded from.
template <class E>
struct Rounding {
  const float* from;
  E* to;
  int64_t size;
};

template <class E>
__global__ void round_all(Rounding<E> a) {
  const int64_t i = own_element();
  if (i < a.size) a.to[i] = rounded<E>(a.from[i]);
}

// to (tokens, R) = rounded h * its factors.
template <class E>
struct FactorRows {
  Plan plan;
  const float* h;
  const float* factors;  // (B, R)
  E* to;
  int64_t R;
};

// One block per token.
template <class E>
__global__ void multiply_rows(FactorRows<E> a) {
  const int64_t row = blockIdx.x * a.R;
  const float* factors = a.factors + place_of(a.plan, blockIdx.x).user_row * a.R;
  for (int64_t i = threadIdx.x; i < a.R; i += blockDim.x)
    a.to[row + i] = rounded<E>(factors[i] * a.h[row + i]);
}

// sum[c] += the sum of column c of `rows`; the order of its terms depends on the shape alone.
template <class E>
struct ColumnSums {
  const E* data;  // (rows, width)
  int64_t rows, width;
  float* sum;
  Rows<const float> factors;  // of each term; null: ones
};

inline constexpr int kSumColumns = 32, kSumParts = 16;

template <class E>
__global__ void sum_columns(ColumnSums<E> a) {
  UNROLLED_SHARED(parts);  // [kSumParts][kSumColumns]
  const int lane = threadIdx.x % kSumColumns, part = threadIdx.x / kSumColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumColumns + lane;
  float sum = 0.0f;
  if (column < a.width)
    for (int64_t row = part; row < a.rows; row += kSumParts) {
      const float factor =
          a.factors.data == nullptr ? 1.0f : a.factors.data[row * a.factors.stride + column];
      sum = multiply_add(to_float(a.data[row * a.width + column]), factor, sum);
    }
  parts[part * kSumColumns + lane] = sum;
  __syncthreads();
  if (part != 0 || column >= a.width) return;
  for (int other = 1; other < kSumParts; ++other) sum += parts[other * kSumColumns + lane];
  a.sum[column] += sum;
}

}  // namespace unrolled::cuda
