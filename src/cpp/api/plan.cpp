#include "api/plan.hpp"

#include <algorithm>
#include <numeric>

namespace unrolled {

RaggedPlan::RaggedPlan(const char* function, int64_t T, int64_t B, const ArrayView& lengths,
                       const ArrayView& resets, bool reverse)
    : order_(static_cast<size_t>(B)), lengths_(static_cast<size_t>(B), T) {
  std::iota(order_.begin(), order_.end(), int64_t{0});
  bool full = true;
  if (lengths.present) {
    const int64_t* given =
        contiguous<const int64_t>({function, "lengths", "(B,)", {B}}, lengths, Access::kRead);
    for (int64_t b = 0; b < B; ++b)
      if (given[b] < 0 || given[b] > T)
        fail_value("[", function, "] expected lengths in 0 .. T = ", T, ", got ", given[b],
                   " for row ", b);
    std::stable_sort(order_.begin(), order_.end(),
                     [given](int64_t a, int64_t b) { return given[a] > given[b]; });
    for (size_t j = 0; j < order_.size(); ++j) {
      lengths_[j] = given[order_[j]];
      full = full && lengths_[j] == T;
    }
  }
  const int64_t steps = B == 0 ? 0 : lengths_[0];
  live_.resize(static_cast<size_t>(steps));
  offset_.assign(static_cast<size_t>(steps) + 1, 0);
  int64_t live = B;
  for (int64_t t = 0; t < steps; ++t) {
    while (live > 0 && lengths_[static_cast<size_t>(live) - 1] <= t) --live;
    live_[static_cast<size_t>(t)] = live;
    offset_[static_cast<size_t>(t) + 1] = offset_[static_cast<size_t>(t)] + live;
  }
  if (resets.present) {
    const Expected expected{function, "resets", "(T, B)", {T, B}};
    const uint8_t* given = contiguous<const uint8_t>(expected, resets, Access::kRead);
    resets_.assign(given, given + T * B);
  }
  // Rows are ordered by length: step 0 has the most.
  chunk_rows_ = steps == 0 ? 0 : std::min(offset_.back(), kChunkTokens + live_[0]);
  plan_ = {.T = steps,
           .B = B,
           .tokens = offset_.back(),
           .live = live_.data(),
           .offset = offset_.data(),
           .order = order_.data(),
           .resets = resets_.empty() ? nullptr : resets_.data(),
           .resets_step = B,
           .reverse = reverse,
           .ordered = full,
           .chunks = nullptr,
           .windows = nullptr,
           .chunk_count = 0,
           .window_count = 0};
}

void RaggedPlan::plan_backward(int64_t recompute) {
  // From the end, where BPTT begins.
  for (int64_t end = plan_.T; end > 0; end = chunks_.back()) {
    int64_t begin = end, tokens = 0;
    while (begin > 0 && tokens < kChunkTokens) tokens += plan_.live[step_at(--begin)];
    chunks_.push_back(begin);
  }
  if (recompute >= 1)
    for (int64_t end = plan_.T; const int64_t begin : chunks_)
      if (begin == 0 || end - begin >= recompute) windows_.push_back(end = begin);
  std::reverse(chunks_.begin(), chunks_.end());
  std::reverse(windows_.begin(), windows_.end());
  for (size_t i = 0; i < windows_.size(); ++i)
    window_rows_ =
        std::max(window_rows_,
                 rows_between(windows_[i], i + 1 < windows_.size() ? windows_[i + 1] : plan_.T));
  plan_.chunks = chunks_.data();
  plan_.chunk_count = static_cast<int64_t>(chunks_.size());
  plan_.windows = windows_.data();
  plan_.window_count = static_cast<int64_t>(windows_.size());
}

int64_t RaggedPlan::step_at(int64_t position) const {
  return plan_.reverse ? plan_.T - 1 - position : position;
}

int64_t RaggedPlan::rows_between(int64_t begin, int64_t end) const {
  return plan_.reverse ? plan_.offset[plan_.T - begin] - plan_.offset[plan_.T - end]
                       : plan_.offset[end] - plan_.offset[begin];
}

}  // namespace unrolled
