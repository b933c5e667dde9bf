// The functions of attention.hpp. A block of threads takes a query and goes through the places of
// its source, or takes a place and goes through the queries; tanh of the pairs is never stored.
// Sums are in an order of their own sizes alone, so that a context has the same bits whether its
// query comes alone or among others.
#include "cuda/attention.hpp"
#include "cuda/block.hpp"
#include "cuda/products.hpp"

namespace unrolled::cuda {
namespace {

template <class T>
__device__ T* row_at(const Sequence<T>& all, int64_t step, int64_t row) {
  return all.data + step * all.step + row * all.row;
}

// The sum of a * b by the lanes of a warp.
__device__ float dot(const float* a, const float* b, int64_t size) {
  float sum = 0.0f;
  for (int64_t i = threadIdx.x % kWarp; i < size; i += kWarp) sum = multiply_add(a[i], b[i], sum);
  return add_lanes<1>(&sum);
}

// The score of a pair, likewise.
__device__ float score(const Memory& m, const float* query, const float* key) {
  if (m.vector == nullptr) return dot(query, key, m.K);
  float sum = 0.0f;
  for (int64_t k = threadIdx.x % kWarp; k < m.K; k += kWarp)
    sum = multiply_add(m.vector[k], tanh(query[k] + key[k]), sum);
  return add_lanes<1>(&sum);
}

// One block per query. Shared memory: what combine_block needs, then the query.
__global__ void attend_query(Attention a) {
  UNROLLED_SHARED(shared);
  const Memory& m = a.memory;
  const int64_t t = blockIdx.x / a.N, n = blockIdx.x % a.N, source = a.sources[n];
  const int64_t places = t < a.lengths[n] ? m.places[source] : 0;
  float* weights = a.weights + blockIdx.x * m.S;
  float* context = a.contexts + blockIdx.x * m.M;
  for (int64_t s = places + threadIdx.x; s < m.S; s += kBlockThreads) weights[s] = 0.0f;
  float* query = shared + kBlockWarps;
  for (int64_t k = threadIdx.x; k < m.K; k += kBlockThreads) query[k] = row_at(a.queries, t, n)[k];
  __syncthreads();
  for (int64_t s = threadIdx.x / kWarp; s < places; s += kBlockWarps) {
    const float value = score(m, query, row_at(m.keys, s, source));
    if (threadIdx.x % kWarp == 0) weights[s] = value;
  }
  __syncthreads();
  float top = -INFINITY, total = 0.0f;
  for (int64_t s = threadIdx.x; s < places; s += kBlockThreads) top = max(top, weights[s]);
  top = combine_block(shared, top, Largest{});
  for (int64_t s = threadIdx.x; s < places; s += kBlockThreads)
    total += weights[s] = exp(weights[s] - top);
  const float factor = 1.0f / combine_block(shared, total, Sum{});
  for (int64_t s = threadIdx.x; s < places; s += kBlockThreads) weights[s] *= factor;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < m.M; i += kBlockThreads) {
    float sum = 0.0f;
    for (int64_t s = 0; s < places; ++s)
      sum = multiply_add(weights[s], row_at(m.values, s, source)[i], sum);
    context[i] = sum;
  }
}

// One block per query: dscores, unless they are there, then dqueries. Shared memory: what
// combine_block needs, then the gradient of the context.
__global__ void pull_query(AttentionBackward a) {
  UNROLLED_SHARED(shared);
  const Memory& m = a.memory;
  const int64_t t = blockIdx.x / m.B, b = blockIdx.x % m.B;
  const int64_t places = t < a.lengths[b] ? m.places[b] : 0;
  float* dscores = a.dscores + blockIdx.x * m.S;
  if (!a.scored) {
    const float* weights = row_at(a.weights, t, b);
    float* dcontext = shared + kBlockWarps;
    for (int64_t i = threadIdx.x; i < m.M; i += kBlockThreads)
      dcontext[i] = row_at(a.dcontexts, t, b)[i];
    __syncthreads();
    for (int64_t s = threadIdx.x / kWarp; s < places; s += kBlockWarps) {
      const float value = dot(dcontext, row_at(m.values, s, b), m.M);
      if (threadIdx.x % kWarp == 0) dscores[s] = value;
    }
    __syncthreads();
    float mean = 0.0f;
    for (int64_t s = threadIdx.x; s < places; s += kBlockThreads)
      mean = multiply_add(weights[s], dscores[s], mean);
    mean = combine_block(shared, mean, Sum{});
    for (int64_t s = threadIdx.x; s < m.S; s += kBlockThreads)
      dscores[s] = s < places ? weights[s] * (dscores[s] - mean) : 0.0f;
    __syncthreads();
  }
  if (a.dqueries == nullptr) return;
  for (int64_t k = threadIdx.x; k < m.K; k += kBlockThreads) {
    const float query = row_at(a.queries, t, b)[k];
    float sum = 0.0f;
    for (int64_t s = 0; s < places; ++s) {
      const float key = row_at(m.keys, s, b)[k];
      float slope = key;
      if (m.vector != nullptr) {
        const float u = tanh(query + key);
        slope = m.vector[k] * (1.0f - u * u);
      }
      sum = multiply_add(dscores[s], slope, sum);
    }
    a.dqueries[blockIdx.x * m.K + k] = sum;
  }
}

// One block per place of a source: its dkey and dvalue, and its part of dvector.
__global__ void pull_place(AttentionBackward a) {
  const Memory& m = a.memory;
  const int64_t s = blockIdx.x / m.B, b = blockIdx.x % m.B;
  const int64_t steps = s < m.places[b] ? a.lengths[b] : 0;
  for (int64_t i = threadIdx.x; i < m.M; i += kBlockThreads) {
    float sum = 0.0f;
    for (int64_t t = 0; t < steps; ++t)
      sum = multiply_add(row_at(a.weights, t, b)[s], row_at(a.dcontexts, t, b)[i], sum);
    a.dvalues[blockIdx.x * m.M + i] = sum;
  }
  for (int64_t k = threadIdx.x; k < m.K; k += kBlockThreads) {
    const float key = row_at(m.keys, s, b)[k];
    float dkey = 0.0f, dvector = 0.0f;
    for (int64_t t = 0; t < steps; ++t) {
      const float dscore = a.dscores[(t * m.B + b) * m.S + s], query = row_at(a.queries, t, b)[k];
      if (m.vector == nullptr) {
        dkey = multiply_add(dscore, query, dkey);
        continue;
      }
      const float u = tanh(query + key);
      dkey = multiply_add(dscore, m.vector[k] * (1.0f - u * u), dkey);
      dvector = multiply_add(dscore, u, dvector);
    }
    a.dkeys[blockIdx.x * m.K + k] = dkey;
    if (m.vector != nullptr) a.scratch[blockIdx.x * m.K + k] = dvector;
  }
}

int64_t shared_bytes(int64_t width) {
  return kBlockSharedBytes + width * static_cast<int64_t>(sizeof(float));
}

}  // namespace

void attend(const Attention& a, Device& device) {
  launch(attend_query, a, a.T * a.N, kBlockThreads, shared_bytes(a.memory.K), device.stream);
}

int64_t attention_scratch(const Memory& m, bool of_memory) {
  return of_memory && m.vector != nullptr ? m.S * m.B * m.K : 0;
}

void attention_backward(const AttentionBackward& a, Device& device) {
  const Memory& m = a.memory;
  if (!a.scored || a.dqueries != nullptr)
    launch(pull_query, a, a.T * m.B, kBlockThreads, shared_bytes(m.M), device.stream);
  if (a.dkeys == nullptr) return;
  launch(pull_place, a, m.S * m.B, kBlockThreads, 0, device.stream);
  if (m.vector != nullptr) add_column_sums(a.scratch, m.S * m.B, m.K, a.dvector, device);
}

}  // namespace unrolled::cuda
