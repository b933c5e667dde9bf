// Connectionist temporal classification (CTC) over batches of sequences.
#pragma once

#include "api/array.hpp"

namespace unrolled {

// What every call takes: logits (T, B, V), of sequence b the first input_lengths[b] frames; labels
// (B, S), of sequence b the first label_lengths[b]; the class of the blank.
struct CtcProblem {
  ArrayView logits, labels, input_lengths, label_lengths;
  int64_t blank;
};

// losses (B): -log of the probability that the softmax of the logits, blanks and repetitions taken
// out, spells the labels; inf where no path of that many frames does. dlogits (T, B, V), unless
// absent, becomes the gradient of the sum of the finite losses, zero behind the end of a sequence.
template <class T>
void run_ctc(const CtcProblem& problem, const ArrayView& losses, const ArrayView& dlogits);

// path (T, B): which label of its sequence each frame belongs to on the most probable path, -1 for
// a blank and behind the end. scores (B): the log of that path's probability; -inf and no label
// where there is none.
template <class T>
void run_ctc_align(const CtcProblem& problem, const ArrayView& path, const ArrayView& scores);

// The same of one sequence (B = 1) whose words may each be said in several ways. labels (1, S) are
// those of all pronunciations, word by word; lengths (A) how many each pronunciation has;
// alternatives (W) how many pronunciations each word has. path (T): the place of the label that
// each frame belongs to, so of each word the best pronunciation alone. Returns the score.
template <class T>
double run_ctc_align_words(const CtcProblem& problem, const ArrayView& lengths,
                           const ArrayView& alternatives, const ArrayView& path);

}  // namespace unrolled
