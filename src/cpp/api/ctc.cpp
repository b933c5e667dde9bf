#include "api/ctc.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "api/log_softmax.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// One sequence of a problem.
template <class T>
struct Item {
  int64_t frames, S;
  Rows<const T> logits;
  const int64_t* labels;
};

// The checked arguments of a call.
template <class T>
struct Problem {
  int64_t steps, B, V, blank;
  std::vector<Item<T>> items;

  Problem(const char* name, const CtcProblem& from) : blank(from.blank) {
    steps = from.logits.shape[0], B = from.logits.shape[1], V = from.logits.shape[2];
    const int64_t S = from.labels.dimensions == 2 ? from.labels.shape[1] : 0;
    const Sequence<const T> logits =
        sequence<const T>({name, "logits", "(T, B, V)", {steps, B, V}}, from.logits, Access::kRead);
    const auto integers = [&](const char* what, const char* letters,
                              std::initializer_list<int64_t> shape, const ArrayView& view) {
      return contiguous<const int64_t>({name, what, letters, shape}, view, Access::kRead);
    };
    const int64_t* labels = integers("labels", "(B, S)", {B, S}, from.labels);
    const int64_t* frames = integers("input_lengths", "(B,)", {B}, from.input_lengths);
    const int64_t* counts = integers("label_lengths", "(B,)", {B}, from.label_lengths);
    if (blank < 0 || blank >= V)
      fail_value("[", name, "] expected blank in 0 .. ", V - 1, ", got ", blank);
    items.resize(static_cast<size_t>(B));
    for (int64_t b = 0; b < B; ++b) {
      check_length(name, "input_lengths", frames[b], steps, b);
      check_length(name, "label_lengths", counts[b], S, b);
      for (int64_t i = 0; i < counts[b]; ++i) {
        const int64_t label = labels[b * S + i];
        if (label < 0 || label >= V || label == blank)
          fail_value("[", name, "] expected labels in 0 .. ", V - 1, " other than the blank ",
                     blank, ", got ", label, " at position ", i, " of sequence ", b);
      }
      items[static_cast<size_t>(b)] = {
          frames[b], counts[b], {logits.data + b * logits.row, logits.step}, labels + b * S};
    }
  }

  // About how many exponentials a sequence takes.
  double work(int64_t b) const {
    const Item<T>& item = items[static_cast<size_t>(b)];
    return static_cast<double>(item.frames) * static_cast<double>(2 * V + 6 * item.S + 8);
  }

 private:
  static void check_length(const char* name, const char* what, int64_t got, int64_t limit,
                           int64_t b) {
    if (got < 0 || got > limit)
      fail_value("[", name, "] expected ", what, " in 0 .. ", limit, ", got ", got, " of sequence ",
                 b);
  }
};

// Which member of a team takes each sequence: the longest first, each by who has least to do.
template <class T>
std::vector<int> shares(const Problem<T>& problem, int size) {
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

// The most probable path of a sequence through its 2 S + 1 states: blank, label, blank, ...
template <class T>
class Viterbi {
 public:
  explicit Viterbi(const Problem<T>& from) : problem(from) {}

  // Writes path[t * stride]; returns the path's log-probability.
  double run(const Item<T>& item, int64_t* path, int64_t stride) {
    const int64_t count = 2 * item.S + 1;
    if (item.frames == 0) return item.S == 0 ? 0.0 : kMinusInfinity;
    const auto states = static_cast<size_t>(count);
    best.assign(states, kMinusInfinity);
    back.assign(states * static_cast<size_t>(item.frames), 0);
    for (int64_t t = 0; t < item.frames; ++t) advance(item, t, back.data() + t * count);

    int64_t s = count - 1;
    if (s > 0 && best[states - 2] > best[states - 1]) --s;
    const double score = best[static_cast<size_t>(s)];
    for (int64_t t = item.frames - 1; t >= 0 && score > kMinusInfinity; --t) {
      path[t * stride] = s % 2 == 1 ? s / 2 : -1;
      s -= back[static_cast<size_t>(t * count + s)];
    }
    return score;
  }

 private:
  // `from` receives how many states each state's best predecessor lies before it.
  void advance(const Item<T>& item, int64_t t, signed char* from) {
    const T* z = item.logits.data + t * item.logits.stride;
    const double normaliser = log_normaliser(z, problem.V);
    // In place from the end on: a state reads only what lies before it.
    for (int64_t s = 2 * item.S; s >= 0; --s) {
      const bool is_label = s % 2 == 1;
      const int64_t symbol = is_label ? item.labels[s / 2] : problem.blank;
      int step = 0;
      double value = t == 0 ? (s < 2 ? 0.0 : kMinusInfinity) : at(s);
      if (t > 0 && s >= 1 && at(s - 1) > value) value = at(s - 1), step = 1;
      if (t > 0 && is_label && s >= 3 && symbol != item.labels[s / 2 - 1] && at(s - 2) > value)
        value = at(s - 2), step = 2;
      from[s] = static_cast<signed char>(step);
      best[static_cast<size_t>(s)] = value + static_cast<double>(z[symbol]) - normaliser;
    }
  }
  double at(int64_t s) const { return best[static_cast<size_t>(s)]; }

  const Problem<T>& problem;
  std::vector<double> best;
  std::vector<signed char> back;
};

}  // namespace

template <class T>
void run_ctc(const CtcProblem& from, const ArrayView& losses, const ArrayView& dlogits) {
  const char* name = "ctc_loss";
  const Problem<T> problem(name, from);
  const int64_t steps = problem.steps, B = problem.B, V = problem.V;
  T* loss = contiguous<T>({name, "losses", "(B,)", {B}}, losses, Access::kWrite);
  T* gradient =
      contiguous<T>({name, "dlogits", "(T, B, V)", {steps, B, V}}, dlogits, Access::kWrite);

  const Kernels<T>& k = kernels_of<T>(kernels());
  double work = 0.0;
  int64_t scratch = 0;
  for (int64_t b = 0; b < B; ++b) {
    const Item<T>& item = problem.items[static_cast<size_t>(b)];
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
      const Item<T>& item = problem.items[static_cast<size_t>(b)];
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

template <class T>
void run_ctc_align(const CtcProblem& from, const ArrayView& path, const ArrayView& scores) {
  const char* name = "ctc_align";
  const Problem<T> problem(name, from);
  const int64_t steps = problem.steps, B = problem.B;
  int64_t* to = contiguous<int64_t>({name, "path", "(T, B)", {steps, B}}, path, Access::kWrite);
  double* score = contiguous<double>({name, "scores", "(B,)", {B}}, scores, Access::kWrite);
  std::fill(to, to + steps * B, int64_t{-1});
  Viterbi<T> viterbi(problem);
  for (int64_t b = 0; b < B; ++b)
    score[b] = viterbi.run(problem.items[static_cast<size_t>(b)], to + b, B);
}

#define UNROLLED_INSTANTIATE(T)                                                    \
  template void run_ctc<T>(const CtcProblem&, const ArrayView&, const ArrayView&); \
  template void run_ctc_align<T>(const CtcProblem&, const ArrayView&, const ArrayView&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
