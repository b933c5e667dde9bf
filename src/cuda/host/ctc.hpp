// CTC on a device: arguments are checked here, then ctc.hpp's work is put on the caller's stream.
// Labels and lengths lie on the host, and are copied to `memory`.
#pragma once

#include "cuda/host/arguments.hpp"

namespace unrolled::cuda {

struct CtcArguments {
  Argument logits;                                 // (T, B, V)
  ArrayView labels, input_lengths, label_lengths;  // (B, S), (B,), (B,) on the host
  int64_t blank;
  Argument losses, dlogits;  // (B,); (T, B, V) or null
  Argument memory, scratch;  // (2 B + 3 B S,) int64, and what `ctc_scratch` says
};
int64_t ctc_scratch(int64_t T, int64_t B, int64_t S, bool gradients);
void ctc(const CtcArguments& arrays, uintptr_t stream);

}  // namespace unrolled::cuda
