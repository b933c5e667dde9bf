// Attention on CUDA, of queries over the memory of sources of different lengths; see
// kernels/attention.hpp for what it computes. As sequence.hpp, this puts work on the device's
// stream, and neither allocates nor waits.
//
// Letters: T steps, N columns of queries, S places, B sources, K width of keys, M of values.
#pragma once

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

// What queries read.
struct Memory {
  int64_t S, B, K, M;
  Sequence<const float> keys, values;  // (S, B, K), (S, B, M)
  const float* vector;                 // (K,): additive scores; null: products
  const int64_t* places;               // (B,), of each source
};

struct Attention {
  Memory memory;
  int64_t T, N;
  Sequence<const float> queries;  // (T, N, K)
  const int64_t* lengths;         // (N,), steps of each column; behind them results are 0
  const int64_t* sources;         // (N,), which one a column reads
  float *contexts, *weights;      // (T, N, M), (T, N, S)
};
void attend(const Attention& args, Device& device);

// Of columns that read the source of their own number: N is B.
struct AttentionBackward {
  Memory memory;
  int64_t T;
  Sequence<const float> queries, weights, dcontexts;  // (T, B, K), (T, B, S), (T, B, M)
  const int64_t* lengths;                             // (B,)
  float* dscores;                                     // (T, B, S), written unless
  bool scored;                                        // they are there already
  float* dqueries;                                    // (T, B, K); null: not wanted
  float *dkeys, *dvalues;                             // (S, B, K), (S, B, M); both null: not wanted
  float* dvector;  // (K,), added to, where there is a vector and dkeys are wanted
  float* scratch;  // so many floats:
};
int64_t attention_scratch(const Memory& memory, bool of_memory);
void attention_backward(const AttentionBackward& args, Device& device);

}  // namespace unrolled::cuda
