#include "api/ctc.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "api/ctc_problem.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// Which member of a team takes each sequence: the longest first, each by who has least to do.
template <class T>
std::vector<int> shares(const CheckedCtc<T>& problem, int size) {
  std::vector<int64_t> order(problem.items.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return problem.work(a) > problem.work(b); });
  std::vector<double> load(static_cast<size_t>(size), 0.0);
  std::vector<int> member(order.size());
  for (const int64_t b : order) {
    const auto least = std::min_element(load.begin(), load.end());
    member[static_cast<size_t>(b)] = static_cast<int>(least - load.begin());
    *least += problem.work(b);
  }
  return member;
}

}  // namespace

template <class T>
void run_ctc(const CtcProblem& from, const ArrayView& losses, const ArrayView& dlogits) {
  const char* name = "ctc_loss";
  const CheckedCtc<T> problem(name, from);
  const int64_t steps = problem.steps, B = problem.B, V = problem.V;
  T* loss = contiguous<T>({name, "losses", "(B,)", {B}}, losses, Access::kWrite);
  T* gradient =
      contiguous<T>({name, "dlogits", "(T, B, V)", {steps, B, V}}, dlogits, Access::kWrite);

  const Kernels<T>& k = kernels_of<T>(kernels());
  double work = 0.0;
  int64_t scratch = 0;
  for (int64_t b = 0; b < B; ++b) {
    const CtcItem<T>& item = problem.items[static_cast<size_t>(b)];
    work += 30.0 * problem.work(b);
    scratch = std::max(scratch, k.ctc_scratch(item.frames, item.S));
  }
  const int size = team_size(work, 0, B);
  const std::vector<int> member = shares(problem, size);
  Buffer<T> memory(size * scratch);
  run_team(size, [&](const Team& team) {
    for (int64_t b = 0; b < B; ++b) {
      // A team may come out smaller than asked for.
      if (member[static_cast<size_t>(b)] % team.size != team.rank) continue;
      const CtcItem<T>& item = problem.items[static_cast<size_t>(b)];
      T* d = gradient == nullptr ? nullptr : gradient + b * V;
      loss[b] = static_cast<T>(k.ctc({item.frames,
                                      V,
                                      item.S,
                                      problem.blank,
                                      item.logits,
                                      item.labels,
                                      {d, B * V},
                                      memory.data() + team.rank * scratch}));
      const int64_t written = std::isinf(loss[b]) ? 0 : item.frames;
      for (int64_t t = written; d != nullptr && t < steps; ++t)
        std::fill(d + t * B * V, d + t * B * V + V, T(0));
    }
  });
}

template void run_ctc<float>(const CtcProblem&, const ArrayView&, const ArrayView&);
template void run_ctc<double>(const CtcProblem&, const ArrayView&, const ArrayView&);

}  // namespace unrolled
