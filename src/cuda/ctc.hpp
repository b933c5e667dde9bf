// Connectionist temporal classification on CUDA: the loss of sequences and its gradient. As
// sequence.hpp, this puts work on the device's stream, and neither allocates nor waits.
//
// Letters: T frames, B sequences, V symbols, S labels at most.
#pragma once

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

struct Ctc {
  int64_t T, B, V, S, blank;
  Sequence<const float> logits;  // (T, B, V)
  // On the device, of each sequence: its frames and labels (B,), and of each label (B, S): what it
  // is, the next place of the same label or -1, and whether no place before has it.
  const int64_t *frames, *counts, *labels, *next, *first;
  float* losses;   // (B,)
  float* dlogits;  // (T, B, V), of the sum of the finite losses; null: not wanted
  float* scratch;  // so many floats:
};
int64_t ctc_scratch(const Ctc& args);
void ctc(const Ctc& args, Device& device);

}  // namespace unrolled::cuda
