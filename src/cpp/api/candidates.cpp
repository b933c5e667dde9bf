#include "api/candidates.hpp"

#include <algorithm>
#include <limits>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// The pairs (row, token) of one row.
struct Pairs {
  const int64_t *begin, *end;

  bool has(int64_t token) const {
    for (const int64_t* pair = begin; pair < end; pair += 2)
      if (pair[1] == token) return true;
    return false;
  }
};

// Insertion into a short sorted list: nearly all logits fail the first comparison.
template <class T>
void select_row(const T* logits, int64_t V, double normaliser, const Pairs& banned, int64_t k,
                int64_t* tokens, double* scores) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  std::fill_n(tokens, k, int64_t{-1});
  std::fill_n(scores, k, kNone);
  T least = -std::numeric_limits<T>::infinity();
  for (int64_t v = 0; v < V; ++v) {
    if (!(logits[v] > least) || banned.has(v)) continue;
    const double score = static_cast<double>(logits[v]) - normaliser;
    int64_t place = k - 1;
    for (; place > 0 && (tokens[place - 1] < 0 || logits[v] > logits[tokens[place - 1]]); --place) {
      tokens[place] = tokens[place - 1];
      scores[place] = scores[place - 1];
    }
    tokens[place] = v;
    scores[place] = score;
    if (tokens[k - 1] >= 0) least = logits[tokens[k - 1]];
  }
}

}  // namespace

template <class T>
void run_best_tokens(const ArrayView& logits, const ArrayView& banned, const ArrayView& tokens,
                     const ArrayView& scores) {
  const char* name = "best_tokens";
  const int64_t N = axis(logits, 0), V = axis(logits, 1), k = axis(tokens, 1);
  const int64_t P = axis(banned, 0);
  if (V < 1 || k < 1)
    fail_value("[best_tokens] expected at least one logit a row and count >= 1, got ", V, " and ",
               k);
  const T* z = contiguous<const T>({name, "logits", "(N, V)", {N, V}}, logits, Access::kRead);
  const int64_t* pairs =
      contiguous<const int64_t>({name, "banned", "(P, 2)", {P, 2}}, banned, Access::kRead);
  int64_t* best = contiguous<int64_t>({name, "tokens", "(N, k)", {N, k}}, tokens, Access::kWrite);
  double* values = contiguous<double>({name, "scores", "(N, k)", {N, k}}, scores, Access::kWrite);
  for (int64_t p = 1; p < P; ++p)
    if (pairs[2 * p] < pairs[2 * p - 2])
      fail_value("[best_tokens] expected banned pairs sorted by row");
  const Kernels<T>& kernel = kernels_of<T>(kernels());
  const auto first_of = [&](int64_t row) {
    int64_t low = 0, high = P;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      (pairs[2 * middle] < row ? low : high) = pairs[2 * middle] < row ? middle + 1 : middle;
    }
    return pairs + 2 * low;
  };
  const double work = 20.0 * static_cast<double>(N) * static_cast<double>(V);
  run_team(team_size(work, 0, N), [&](const Team& team) {
    for (int64_t n = N * team.rank / team.size; n < N * (team.rank + 1) / team.size; ++n) {
      const double normaliser = static_cast<double>(kernel.log_sum_exp(z + n * V, V));
      select_row(z + n * V, V, normaliser, {first_of(n), first_of(n + 1)}, k, best + n * k,
                 values + n * k);
    }
  });
}

template void run_best_tokens<float>(const ArrayView&, const ArrayView&, const ArrayView&,
                                     const ArrayView&);
template void run_best_tokens<double>(const ArrayView&, const ArrayView&, const ArrayView&,
                                      const ArrayView&);

}  // namespace unrolled
