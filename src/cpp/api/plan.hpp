// Which rows are live at which step, and how BPTT walks back over them.
#pragma once

#include <cstdint>
#include <vector>

#include "api/array.hpp"
#include "kernels/table.hpp"

namespace unrolled {

// Tokens that the products outside the recurrence take at a time: enough rows for full speed, few
// enough for their scratch to stay in the cache.
inline constexpr int64_t kChunkTokens = 256;

// `rows` of prepared operands as they are read: in whole blocks.
inline int64_t whole_operands(int64_t rows) {
  return (rows + kOperandRows - 1) / kOperandRows * kOperandRows;
}

// What the forward pass stores for BPTT: everything; the states of all steps (the values inside the
// cell are recomputed); or, for k >= 1, the states about every k steps (the rest is recomputed).
inline constexpr int64_t kStoreAll = 0, kStoreStates = -1;

// Rows ordered by length, and where the tokens of each step stand; see kernels/table.hpp.
class RaggedPlan {
 public:
  RaggedPlan(const char* function, int64_t T, int64_t B, const ArrayView& lengths,
             const ArrayView& resets, bool reverse);
  // Chunks and windows for a scan with gradients. A window has whole chunks and at least
  // `recompute` steps, so that gradients are summed in the same parts whatever is stored.
  void plan_backward(int64_t recompute);

  const Plan& view() const { return plan_; }
  int64_t length(int64_t ordered_row) const { return lengths_[static_cast<size_t>(ordered_row)]; }
  // The most rows that a chunk can have, and that a window has.
  int64_t chunk_rows() const { return chunk_rows_; }
  int64_t window_rows() const { return window_rows_; }

 private:
  int64_t step_at(int64_t position) const;
  int64_t rows_between(int64_t begin, int64_t end) const;

  std::vector<int64_t> live_, offset_, order_, lengths_, chunks_, windows_;
  std::vector<uint8_t> resets_;  // a copy: the pullback may come after the caller changed his own
  int64_t chunk_rows_ = 0, window_rows_ = 0;
  Plan plan_;
};

}  // namespace unrolled
