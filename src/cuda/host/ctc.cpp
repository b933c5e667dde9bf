#include "cuda/host/ctc.hpp"

#include <vector>

#include "api/ctc_problem.hpp"
#include "cuda/ctc.hpp"
#include "cuda/host/put.hpp"
#include "cuda/host/upload.hpp"

namespace unrolled::cuda {
namespace {

// Frames, counts, labels, `next` and `first` of Ctc, one behind the other.
std::vector<int64_t> integers_of(const CheckedCtc<float>& problem, int64_t S) {
  const int64_t B = problem.B;
  std::vector<int64_t> image(static_cast<size_t>(2 * B + 3 * B * S), -1);
  int64_t *frames = image.data(), *counts = frames + B, *labels = counts + B;
  int64_t *next = labels + B * S, *first = next + B * S;
  std::vector<int64_t> last(static_cast<size_t>(problem.V));  // the place of each symbol, and one
  for (int64_t b = 0; b < B; ++b) {
    const CtcItem<float>& item = problem.items[static_cast<size_t>(b)];
    frames[b] = item.frames, counts[b] = item.S;
    last.assign(last.size(), -1);
    for (int64_t i = 0; i < item.S; ++i) {
      const int64_t label = labels[b * S + i] = item.labels[i];
      int64_t& before = last[static_cast<size_t>(label)];
      first[b * S + i] = before < 0;
      if (before >= 0) next[b * S + before] = i;
      before = i;
    }
  }
  return image;
}

}  // namespace

int64_t ctc_scratch(int64_t T, int64_t B, int64_t S, bool gradients) {
  Ctc args{};
  args.T = T, args.B = B, args.S = S;
  float wanted;
  args.dlogits = gradients ? &wanted : nullptr;
  return ctc_scratch(args);
}

void ctc(const CtcArguments& arrays, uintptr_t stream) {
  const char* name = "ctc_loss";
  const CheckedCtc<float> problem(name, {view(arrays.logits), arrays.labels, arrays.input_lengths,
                                         arrays.label_lengths, arrays.blank});
  Arguments given(name);
  const int64_t T = problem.steps, B = problem.B, V = problem.V, S = axis(arrays.labels, 1);
  Ctc args{};
  args.T = T, args.B = B, args.V = V, args.S = S, args.blank = problem.blank;
  args.logits = given.sequence<const float>("logits", "(T, B, V)", {T, B, V}, arrays.logits);
  args.losses = given.array<float>("losses", "(B,)", {B}, arrays.losses);
  args.dlogits = given.array<float>("dlogits", "(T, B, V)", {T, B, V}, arrays.dlogits);
  args.scratch = given.array<float>("scratch", "(scratch,)", {ctc_scratch(args)}, arrays.scratch);
  const std::vector<int64_t> image = integers_of(problem, S);
  args.frames = upload(name, image.data(), std::ssize(image), arrays.memory, given, stream);
  args.counts = args.frames + B;
  args.labels = args.counts + B;
  args.next = args.labels + B * S;
  args.first = args.next + B * S;
  put(given, stream, [&](Device& device) { ctc(args, device); });
}

}  // namespace unrolled::cuda
