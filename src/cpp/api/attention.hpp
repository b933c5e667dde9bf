// Attention over the memories of a batch of sources of different lengths.
#pragma once

#include <vector>

#include "api/array.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"

namespace unrolled {

// What a pass back reads and writes. Absent arrays are not wanted.
struct AttentionGradients {
  ArrayView dscores;  // (T, B, S), written; read where the scores are `scored` already
  bool scored;
  ArrayView dqueries;        // (T, B, K), written
  ArrayView dkeys, dvalues;  // (S, B, K) and (S, B, M), written
  ArrayView dvector;         // (K), added to, with dkeys
};

// Keys (S, B, K) and values (S, B, M) of B sources, packed once for many queries. The copies are a
// snapshot. `vector` (K) makes the scores additive; absent: dot products.
template <class T>
class AttentionMemory {
 public:
  AttentionMemory(const ArrayView& keys, const ArrayView& values, const ArrayView& vector,
                  const ArrayView& lengths, bool backward);

  // Queries (T, N, K), of column n the first lengths[n], over source sources[n]: contexts (T, N, M)
  // and weights (T, N, S), zero behind the end of a column and of a source.
  void attend(const ArrayView& queries, const ArrayView& sources, const ArrayView& lengths,
              const ArrayView& contexts, const ArrayView& weights) const;

  // The pullback of `attend` where column b reads source b.
  void pull(const ArrayView& queries, const ArrayView& lengths, const ArrayView& weights,
            const ArrayView& dcontexts, const AttentionGradients& gradients) const;

 private:
  double work(int64_t b, int64_t steps) const;

  const KernelTable& table_;
  int64_t S_, B_, K_, M_;
  bool backward_;
  std::vector<int64_t> lengths_;
  std::vector<T> vector_;                 // (K), empty: dot products
  std::vector<AttentionSource<T>> from_;  // where the parts of each source begin
  Buffer<T> block_;
};

}  // namespace unrolled
