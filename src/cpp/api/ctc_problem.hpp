// The checked arguments of the calls about CTC.
#pragma once

#include <vector>

#include "api/ctc.hpp"
#include "kernels/table.hpp"

namespace unrolled {

// One sequence of a problem.
template <class T>
struct CtcItem {
  int64_t frames, S;
  Rows<const T> logits;
  const int64_t* labels;
};

// The checked arguments of a call.
template <class T>
struct CheckedCtc {
  int64_t steps, B, V, blank;
  std::vector<CtcItem<T>> items;

  CheckedCtc(const char* name, const CtcProblem& from) : blank(from.blank) {
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
    const CtcItem<T>& item = items[static_cast<size_t>(b)];
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

}  // namespace unrolled
