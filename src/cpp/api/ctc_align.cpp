#include <algorithm>
#include <limits>
#include <vector>

#include "api/ctc_problem.hpp"
#include "api/log_softmax.hpp"

namespace unrolled {
namespace {

// The states of a text of words, of which each may be pronounced in several ways: the blank before
// a word; of each of its pronunciations label, blank, label, ..., label; at the end a blank. Every
// state lies behind those that lead to it.
class Graph {
 public:
  struct State {
    int64_t symbol;  // the output that says it
    int64_t place;   // of its label among all labels, -1 of a blank
    bool first;      // a path may begin with it
    size_t arcs;     // where the states that lead to it begin in `from`
  };
  std::vector<State> states;
  std::vector<int64_t> from;  // by state what leads to it beside itself, the nearest first
  std::vector<int64_t> last;  // states of the last labels

  explicit Graph(int64_t blank_symbol) : blank(blank_symbol) { add(blank, -1, true); }

  // A word after those before it: `lengths` of its pronunciations, whose labels begin at `place`.
  void word(const int64_t* labels, int64_t place, const int64_t* lengths, int64_t alternatives) {
    const int64_t before = size() - 1;
    std::vector<int64_t> ends;
    for (int64_t a = 0; a < alternatives; ++a) {
      for (int64_t i = 0; i < lengths[a]; ++i, ++place) {
        const int64_t previous = size() - 1;  // unless i is 0, the label before
        if (i > 0) {
          add(blank, -1, false);
          from.push_back(previous);
        }
        const int64_t gap = i > 0 ? size() - 1 : before;
        add(labels[place], place, i == 0 && before == 0);
        from.push_back(gap);
        if (i > 0) {
          skip(previous, labels[place]);
        } else {
          for (const int64_t end : last) skip(end, labels[place]);
        }
      }
      ends.push_back(size() - 1);
    }
    add(blank, -1, false);
    from.insert(from.end(), ends.begin(), ends.end());
    last = ends;
  }

  int64_t size() const { return static_cast<int64_t>(states.size()); }
  size_t arcs_end(size_t s) const {
    return s + 1 < states.size() ? states[s + 1].arcs : from.size();
  }

 private:
  void add(int64_t symbol, int64_t place, bool first) {
    states.push_back({symbol, place, first, from.size()});
  }
  // Only different labels may follow each other without a blank.
  void skip(int64_t state, int64_t label) {
    if (states[static_cast<size_t>(state)].symbol != label) from.push_back(state);
  }

  int64_t blank;
};

// The most probable path of a sequence through a graph.
template <class T>
class Viterbi {
 public:
  explicit Viterbi(int64_t outputs) : V(outputs) {}

  // Writes path[t * stride]; returns the path's log-probability.
  double run(const Graph& graph, const CtcItem<T>& item, int64_t* path, int64_t stride) {
    const int64_t count = graph.size();
    if (item.frames == 0) return count == 1 ? 0.0 : kMinusInfinity;
    best.assign(static_cast<size_t>(count), kMinusInfinity);
    back.assign(static_cast<size_t>(count * item.frames), 0);
    for (int64_t t = 0; t < item.frames; ++t) advance(graph, item, t, back.data() + t * count);

    auto s = static_cast<size_t>(count - 1);
    for (const int64_t end : graph.last)
      if (best[static_cast<size_t>(end)] > best[s]) s = static_cast<size_t>(end);
    const double score = best[s];
    for (int64_t t = item.frames - 1; t >= 0 && score > kMinusInfinity; --t) {
      path[t * stride] = graph.states[s].place;
      const size_t arc = back[static_cast<size_t>(t * count) + s];
      if (arc > 0) s = static_cast<size_t>(graph.from[graph.states[s].arcs + arc - 1]);
    }
    return score;
  }

 private:
  // `chosen` receives by which arc each state is reached, 0 from itself.
  void advance(const Graph& graph, const CtcItem<T>& item, int64_t t, uint8_t* chosen) {
    const T* z = item.logits.data + t * item.logits.stride;
    const double normaliser = log_normaliser(z, V);
    // In place from the end on: a state reads only what lies before it.
    for (size_t s = graph.states.size(); s-- > 0;) {
      const Graph::State& state = graph.states[s];
      double value = best[s];
      if (t == 0) {
        value = state.first ? 0.0 : kMinusInfinity;
      } else {
        for (size_t a = state.arcs; a < graph.arcs_end(s); ++a) {
          const double other = best[static_cast<size_t>(graph.from[a])];
          if (other > value) value = other, chosen[s] = static_cast<uint8_t>(a - state.arcs + 1);
        }
      }
      best[s] = value + static_cast<double>(z[state.symbol]) - normaliser;
    }
  }

  const int64_t V;
  std::vector<double> best;
  std::vector<uint8_t> back;
};

// What leads to a state, itself and a blank among it, is counted in a byte.
constexpr int64_t kMostAlternatives = std::numeric_limits<uint8_t>::max() - 1;

}  // namespace

template <class T>
void run_ctc_align(const CtcProblem& from, const ArrayView& path, const ArrayView& scores) {
  const char* name = "ctc_align";
  const CheckedCtc<T> problem(name, from);
  const int64_t steps = problem.steps, B = problem.B, one = 1;
  int64_t* to = contiguous<int64_t>({name, "path", "(T, B)", {steps, B}}, path, Access::kWrite);
  double* score = contiguous<double>({name, "scores", "(B,)", {B}}, scores, Access::kWrite);
  std::fill(to, to + steps * B, int64_t{-1});
  Viterbi<T> viterbi(problem.V);
  for (int64_t b = 0; b < B; ++b) {
    const CtcItem<T>& item = problem.items[static_cast<size_t>(b)];
    Graph graph(problem.blank);
    for (int64_t i = 0; i < item.S; ++i) graph.word(item.labels, i, &one, 1);
    score[b] = viterbi.run(graph, item, to + b, B);
  }
}

template <class T>
double run_ctc_align_words(const CtcProblem& from, const ArrayView& lengths,
                           const ArrayView& alternatives, const ArrayView& path) {
  const char* name = "ctc_align_words";
  const CheckedCtc<T> problem(name, from);
  if (problem.B != 1) fail_value("[", name, "] expected one sequence, got ", problem.B);
  const int64_t A = axis(lengths, 0), W = axis(alternatives, 0), steps = problem.steps;
  const int64_t* length =
      contiguous<const int64_t>({name, "lengths", "(A,)", {A}}, lengths, Access::kRead);
  const int64_t* count =
      contiguous<const int64_t>({name, "alternatives", "(W,)", {W}}, alternatives, Access::kRead);
  int64_t* to = contiguous<int64_t>({name, "path", "(T,)", {steps}}, path, Access::kWrite);
  std::fill(to, to + steps, int64_t{-1});

  const CtcItem<T>& item = problem.items[0];
  Graph graph(problem.blank);
  int64_t place = 0, a = 0;
  for (int64_t w = 0; w < W; ++w) {
    if (count[w] < 1 || count[w] > kMostAlternatives || count[w] > A - a)
      fail_value("[", name, "] expected 1 .. ", kMostAlternatives,
                 " pronunciations of each word, which are all there are, got ", count[w],
                 " of word ", w);
    int64_t end = place;
    for (int64_t i = a; i < a + count[w]; ++i) {
      if (length[i] < 1 || length[i] > item.S - end)
        fail_value("[", name, "] expected pronunciations of one label or more, ", item.S,
                   " labels together, got ", length[i], " of pronunciation ", i - a, " of word ",
                   w);
      end += length[i];
    }
    graph.word(item.labels, place, length + a, count[w]);
    place = end, a += count[w];
  }
  if (a != A || place != item.S)
    fail_value("[", name, "] expected words with all of ", A, " pronunciations and ", item.S,
               " labels, got ", a, " and ", place);
  return Viterbi<T>(problem.V).run(graph, item, to, 1);
}

#define UNROLLED_INSTANTIATE(T)                                                                 \
  template void run_ctc_align<T>(const CtcProblem&, const ArrayView&, const ArrayView&);        \
  template double run_ctc_align_words<T>(const CtcProblem&, const ArrayView&, const ArrayView&, \
                                         const ArrayView&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
