// Connectionist temporal classification: the loss of one sequence and its gradient, in log space.
//
// Source: Graves, Fernandez, Gomez and Schmidhuber, "Connectionist temporal classification", 2006.
// The 2 S + 1 states of the paper (blank, label, blank, ...) are kept as two arrays, S + 1 blanks
// and S labels, so that each kind is computed a vector at a time:
//
//   blank i is reached from blank i and label i - 1
//   label i is reached from label i, blank i and, unless the two labels are equal, label i - 1
//
// Every step is taken relative to the best state of the step before; what was taken off is summed
// up in double. So long sequences lose no digits.
#pragma once

#include "kernels/softmax.hpp"
#include "kernels/tile.hpp"

namespace unrolled::UNROLLED_ISA {

// The log of "impossible". Finite, since -inf - -inf would be NaN; sums stay below half of it.
template <class T>
inline constexpr T kNever = T(-1e30);

// States of one step: `labels` from index -1 on and `blanks`, both up to `width` - 1 >= S + 1.
template <class T>
struct CtcStates {
  T *labels, *blanks;
};

// How the scratch of a sequence is laid out.
template <class T>
struct CtcLayout {
  int64_t frames, width;

  CtcLayout(int64_t frame_count, int64_t S)
      : frames(frame_count), width(ceil_div(S + 2, kLanes<T>) * kLanes<T>) {}
  int64_t states() const { return kLanes<T> + 2 * width; }
  // alpha of every frame, beta and emission of one, `skip`; log normalisers of every frame
  int64_t elements() const { return (frames + 3) * states() + 2 * width + frames; }
  CtcStates<T> at(T* scratch, int64_t row) const {
    T* labels = scratch + row * states() + kLanes<T>;
    return {labels, labels + width};
  }
  T* normalisers(T* scratch) const { return scratch + (frames + 3) * states() + 2 * width; }
};

// log(e^a + e^b) and of three. Impossible terms stay impossible.
template <class T>
UNROLLED_INLINE Vec<T> log_add(Vec<T> a, Vec<T> b) {
  const Vec<T> high = max(a, b);
  return high + log1p(exp(min(a, b) - high));
}
template <class T>
UNROLLED_INLINE Vec<T> log_add(Vec<T> a, Vec<T> b, Vec<T> c) {
  const Vec<T> larger = max(a, b), high = max(larger, c);
  return high + log1p(exp(min(a, b) - high) + exp(min(larger, c) - high));
}

// The sequence, and where its scratch lies.
template <class T>
class Ctc {
 public:
  explicit Ctc(const CtcArgs<T>& args)
      : a(args),
        layout(args.frames, args.S),
        beta(layout.at(a.scratch, args.frames)),
        next(layout.at(a.scratch, args.frames + 1)),
        emission(layout.at(a.scratch, args.frames + 2)),
        skip(a.scratch + (args.frames + 3) * layout.states()),
        normalisers(layout.normalisers(a.scratch)) {}

  double run() {
    for (int64_t i = 0; i < 2 * layout.width; ++i)
      skip[i] = i > 0 && i < a.S && a.labels[i] != a.labels[i - 1] ? T(0) : kNever<T>;
    const double loss = forward();
    if (a.dlogits.data != nullptr && !(loss > kImpossible)) backward();
    return loss;
  }

 private:
  static constexpr double kImpossible = -0.5 * static_cast<double>(kNever<T>);
  static constexpr int L = kLanes<T>;

  // Log-probabilities of the labels and, in every place, of the blank in frame t.
  T emit(int64_t t) {
    const T* z = a.logits.data + t * a.logits.stride;
    const T normaliser = normalisers[t];
    for (int64_t i = 0; i < a.S; ++i) {
      const T log_p = z[a.labels[i]] - normaliser;
      emission.labels[i] = log_p < kNever<T> ? kNever<T> : log_p;  // a logit of -inf
    }
    for (int64_t i = a.S; i < layout.width; ++i) emission.labels[i] = kNever<T>;
    const T log_p = z[a.blank] - normaliser;
    return log_p < kNever<T> ? kNever<T> : log_p;
  }

  void fill(CtcStates<T> states) {
    for (int64_t i = -1; i < 2 * layout.width; ++i) states.labels[i] = kNever<T>;
  }

  double forward() {
    if (a.frames == 0) return a.S == 0 ? 0.0 : __builtin_huge_val();
    const Vec<T> never(kNever<T>);
    double taken_off = 0.0;
    T best = T(0);
    for (int64_t t = 0; t < a.frames; ++t) {
      normalisers[t] = log_sum_exp(a.logits.data + t * a.logits.stride, a.V);
      const T blank = emit(t);
      const CtcStates<T> to = layout.at(a.scratch, t);
      to.labels[-1] = kNever<T>;
      if (t == 0) {
        fill(to);
        to.blanks[0] = blank;
        if (a.S > 0) to.labels[0] = emission.labels[0];
        best = larger_of(blank, to.labels[0]);
        continue;
      }
      taken_off += static_cast<double>(best);
      const CtcStates<T> from = layout.at(a.scratch, t - 1);
      const Vec<T> stay(blank - best), off(best);
      Vec<T> top = never;
      for (int64_t i = 0; i < layout.width; i += L) {
        const Vec<T> label = load(from.labels + i), before = load(from.labels + i - 1);
        const Vec<T> blanks = load(from.blanks + i);
        const Vec<T> to_blank = max(log_add(blanks, before) + stay, never);
        const Vec<T> to_label =
            max(log_add(label, blanks, before + load(skip + i)) + (load(emission.labels + i) - off),
                never);
        store(to.blanks + i, to_blank);
        store(to.labels + i, to_label);
        top = max(max(to_blank, to_label), top);
      }
      best = max_lane(top);
    }
    const CtcStates<T> last = layout.at(a.scratch, a.frames - 1);
    const T end = log_add(Vec<T>(last.blanks[a.S]), Vec<T>(last.labels[a.S - 1])).v[0];
    const double loss = -(taken_off + static_cast<double>(end));
    return loss > kImpossible ? __builtin_huge_val() : loss;
  }

  // beta of frame t (what may follow it, without its own emission) from that of t + 1, and from
  // both the probability of each state in frame t.
  void backward() {
    fill(beta);
    beta.blanks[a.S] = T(0);
    if (a.S > 0) beta.labels[a.S - 1] = T(0);
    fill(next);
    for (int64_t t = a.frames - 1; t >= 0; --t) {
      if (t < a.frames - 1) step_back(t);
      gradient(t);
    }
  }

  void step_back(int64_t t) {
    const Vec<T> never(kNever<T>);
    const T blank = emit(t + 1);
    Vec<T> top = never;
    for (int64_t i = 0; i < layout.width; i += L) {
      const Vec<T> blanks = max(load(beta.blanks + i) + Vec<T>(blank), never);
      const Vec<T> labels = max(load(beta.labels + i) + load(emission.labels + i), never);
      store(next.blanks + i, blanks);
      store(next.labels + i, labels);
      top = max(max(blanks, labels), top);
    }
    const Vec<T> off(max_lane(top));
    // Behind the last blank lies nothing: what the vectors read there counts as impossible.
    for (int64_t i = 0; i < layout.width; i += L) {
      const bool end = i + L == layout.width;
      const Vec<T> label = load(next.labels + i);
      const Vec<T> after = end ? shifted(next.labels, i) : load(next.labels + i + 1);
      const Vec<T> blank_after = end ? shifted(next.blanks, i) : load(next.blanks + i + 1);
      store(beta.blanks + i, max(log_add(load(next.blanks + i), label) - off, never));
      store(beta.labels + i,
            max(log_add(label, blank_after, after + load(skip + i + 1)) - off, never));
    }
  }

  Vec<T> shifted(const T* states, int64_t i) {
    return load_some(states + i + 1, L - 1, Vec<T>(kNever<T>));
  }

  // dlogits of frame t: softmax minus the probability of being in a state of that symbol.
  void gradient(int64_t t) {
    const CtcStates<T> alpha = layout.at(a.scratch, t);
    Vec<T> top(kNever<T>);
    for (int64_t i = 0; i < 2 * layout.width; i += L) {
      const Vec<T> both = load(alpha.labels + i) + load(beta.labels + i);
      store(next.labels + i, both);
      top = max(both, top);
    }
    const Vec<T> off(max_lane(top));
    Vec<T> blanks(T(0)), total(T(0));
    for (int64_t i = 0; i < 2 * layout.width; i += L) {
      const Vec<T> p = exp(load(next.labels + i) - off);
      store(next.labels + i, p);
      total = total + p;
      if (i >= layout.width) blanks = blanks + p;
    }
    const T factor = T(1) / sum_lanes(total);

    const T* z = a.logits.data + t * a.logits.stride;
    T* d = a.dlogits.data + t * a.dlogits.stride;
    const Vec<T> normaliser(normalisers[t]);
    for (int64_t v = 0; v < a.V; v += L)
      store_tail(d, v, a.V, exp(load_tail(z, v, a.V) - normaliser));
    d[a.blank] -= factor * sum_lanes(blanks);
    for (int64_t i = 0; i < a.S; ++i) d[a.labels[i]] -= factor * next.labels[i];
  }

  static T larger_of(T a, T b) { return a < b ? b : a; }

  const CtcArgs<T>& a;
  const CtcLayout<T> layout;
  const CtcStates<T> beta, next, emission;
  T* const skip;
  T* const normalisers;
};

template <class T>
int64_t ctc_scratch(int64_t frames, int64_t S) {
  return CtcLayout<T>(frames, S).elements();
}

template <class T>
double ctc(const CtcArgs<T>& args) {
  return Ctc<T>(args).run();
}

}  // namespace unrolled::UNROLLED_ISA
