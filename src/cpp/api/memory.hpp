// Where the arrays of a scan lie. Each `place` function hands out all arrays of one kind from one
// block; with an empty block it only counts, so that the size of a run can be told beforehand and
// is exactly what the run takes.
#pragma once

#include <string>

#include "api/sequence.hpp"

namespace unrolled {

// Hands out consecutive parts of a block, each from a cache line on.
template <class T>
class Parts {
 public:
  Parts() = default;
  explicit Parts(T* block) : block_(block) {}

  T* take(int64_t count) {
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
    if (count == 0) return nullptr;
    const int64_t begin = used_, guard = static_cast<int64_t>(kGuardBytes / sizeof(T));
    used_ += (count + line - 1) / line * line + guard;
    if (block_ == nullptr) return nullptr;
    guard_memory(block_ + begin + count, static_cast<size_t>(used_ - begin - count) * sizeof(T));
    return block_ + begin;
  }
  int64_t used() const { return used_; }

 private:
  T* block_ = nullptr;
  int64_t used_ = 0;
};

// A block with everything that `place` takes from it: `block`, or a new one where that is empty.
template <class T, class Place>
Buffer<T> allocate_parts(Place place, Buffer<T> block = {}) {
  Parts<T> count;
  place(count);
  if (block.data() == nullptr) block = Buffer<T>(count.used());
  if (block.size() < count.used())
    fail_value("[memory] expected ", count.used(), " elements, got ", block.size());
  Parts<T> parts(block.data());
  place(parts);
  return block;
}

// What a forward pass keeps for BPTT: states, saved values, and what a second run needs.
template <class T>
void place_saved(Parts<T>& parts, Saved<T>& saved, bool given_initial);

// Threads that a pass of a scan uses, and whether they share its rows or its units.
struct Sharing {
  int team_size;
  bool by_rows;
};
template <class T>
Sharing share_forward(const Weights<T>& weights, const Plan& plan);
template <class T>
Sharing share_backward(const Weights<T>& weights, const Plan& plan);

// Scratch of a forward pass; its states, too, unless they are kept. `gathered`: input rows are not
// in place.
template <class T>
void place_forward(Parts<T>& parts, const Weights<T>& weights, ForwardArgs<T>& args,
                   const Sharing& sharing, bool gathered);

// Scratch of BPTT, with the arrays of a window where the scan is run `again`.
template <class T>
void place_backward(Parts<T>& parts, const Saved<T>& saved, BackwardArgs<T>& args,
                    ForwardArgs<T>& again, const Sharing& sharing);

// Of scratch for rows that are converted, those of a batch of B rows, a thread.
inline int64_t operand_size(const LayerSizes& sizes, int64_t rows, int64_t width, int64_t B) {
  return B < sizes.least_rows ? 0 : rows * width;
}

// Throws std::bad_alloc where the arrays of a scan would be beyond all memory, so that their sizes
// can be computed in 64 bits.
void check_countable(int64_t I, int64_t H, int64_t T, int64_t B);

// Bytes that one scan will take, for dense x with gradients.
struct ScanMemory {
  int64_t weights;   // packed, with the transposed copies
  int64_t saved;     // from the forward pass until its pullback is dropped
  int64_t forward;   // scratch during the forward pass
  int64_t backward;  // scratch during the pullback
};

struct ScanQuery {
  std::string cell, precision;
  int64_t I, H, R, T, B;  // R: columns of the state h
  ArrayView lengths;
  bool reverse;
  int64_t recompute;
  bool factors, clips_norm;  // whether there are ForwardArrays::factors, BackwardArrays::clip_norm
};

template <class T>
ScanMemory scan_memory(const ScanQuery& query);

}  // namespace unrolled
