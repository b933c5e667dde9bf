// Attention on a device: arguments are checked here, then attention.hpp's work is put on the
// caller's stream. Lengths and sources lie on the host, and are copied to `memory`.
#pragma once

#include "cuda/host/arguments.hpp"

namespace unrolled::cuda {

struct MemoryArguments {
  Argument keys, values, vector;  // (S, B, K), (S, B, M), (K,) or null
  ArrayView places;               // (B,)
};

struct AttendArguments {
  MemoryArguments of;
  Argument queries;            // (T, N, K)
  ArrayView lengths, sources;  // (N,)
  Argument contexts, weights;  // (T, N, M), (T, N, S)
  Argument memory;             // (B + 2 N,) int64
};
void attend(const AttendArguments& arrays, uintptr_t stream);

struct AttentionBackwardArguments {
  MemoryArguments of;
  Argument queries, weights, dcontexts;  // (T, B, K), (T, B, S), (T, B, M)
  ArrayView lengths;                     // (B,)
  Argument dscores;                      // (T, B, S), written unless
  bool scored;                           // it is there already
  Argument dqueries, dkeys, dvalues;     // (T, B, K), (S, B, K), (S, B, M), or null
  Argument dvector;                      // (K,), added to, or null
  Argument memory, scratch;              // (2 B,) int64, and what `attention_scratch` says
};
int64_t attention_scratch(const MemoryArguments& of, bool of_memory);
void attention_backward(const AttentionBackwardArguments& arrays, uintptr_t stream);

}  // namespace unrolled::cuda
