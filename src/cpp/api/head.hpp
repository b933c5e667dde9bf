// What stands around the recurrent layers: linear, softmax cross-entropy, embedding, dropout,
// sampling.
#pragma once

#include <string>

#include "api/array.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"

namespace unrolled {

// A weight (O, I) packed for x W^T, with its bias padded to whole panels, and transposed for dy W.
template <class T>
struct PackedLinear {
  const KernelTable& table;
  int64_t O, I;
  Buffer<T> forward, bias, backward;

  PackedLinear(const KernelTable& table, const HeadKernels<T>& head, const T* weight,
               const T* from_bias, int64_t O, int64_t I, bool need_forward, bool need_backward);
};

// Packs for `run_packed_linear`.
template <class T>
PackedLinear<T> pack_linear(const ArrayView& weight, const ArrayView& bias);

// y (N, O) = x (N, I) weight^T + bias.
template <class T>
void run_packed_linear(const PackedLinear<T>& packed, const ArrayView& x, const ArrayView& y);

// y (N, O) = x (N, I) weight^T + bias.
template <class T>
void run_linear(const ArrayView& x, const ArrayView& weight, const ArrayView& bias,
                const ArrayView& y);

// Adds to dweight (O, I) and dbias (O); writes dx (N, I) unless it is absent.
template <class T>
void run_linear_backward(const ArrayView& x, const ArrayView& weight, const ArrayView& dy,
                         const ArrayView& dx, const ArrayView& dweight, const ArrayView& dbias);

struct CrossEntropyGradients {
  ArrayView dx, dweight, dbias;  // dx absent: losses only
};

// losses (N) of logits x weight^T + bias against targets (N); never holds more than a block of
// logits. Gradients are those of scale * sum(losses); dweight and dbias are added to. `smoothing`:
// part of the target's probability that all classes share, 0 <= smoothing < 1. `precision`: "full",
// or "bf16" for float.
template <class T>
void run_cross_entropy(const ArrayView& x, const ArrayView& weight, const ArrayView& bias,
                       const ArrayView& targets, const ArrayView& losses, double scale,
                       double smoothing, const CrossEntropyGradients& gradients,
                       const std::string& precision);

// out (N, E) = rows `indices` (N) of weight (V, E).
template <class T>
void run_embedding(const ArrayView& indices, const ArrayView& weight, const ArrayView& out);

// dweight (V, E) += dy (N, E) at rows `indices`.
template <class T>
void run_embedding_backward(const ArrayView& indices, const ArrayView& dy,
                            const ArrayView& dweight);

// out[i] = x[i] / (1 - p) with probability 1 - p, else 0, decided by (seed, offset + i).
template <class T>
void run_dropout(const ArrayView& x, const ArrayView& out, double p, uint64_t seed,
                 uint64_t offset);

struct SampleOptions {
  double temperature;  // 0: the most probable
  int64_t top_k;       // 0: all
  double top_p;        // 1: all
};

// out (B) = an index drawn from softmax(logits (B, V) / temperature) by inverting u (B) in [0, 1).
template <class T>
void run_sample(const ArrayView& logits, const ArrayView& u, const SampleOptions& options,
                const ArrayView& out);

}  // namespace unrolled
