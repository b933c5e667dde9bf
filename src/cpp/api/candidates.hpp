// The most probable next tokens of many hypotheses: what a beam search selects from.
#pragma once

#include "api/array.hpp"

namespace unrolled {

// Of each row of logits (N, V) the `count` = k largest, the first of equals first: tokens (N, k)
// and their log-probabilities scores (N, k) under the softmax of the whole row. Pairs (row, token)
// in `banned` (P, 2), sorted by row, are passed over. Where fewer are left: token -1, score -inf.
template <class T>
void run_best_tokens(const ArrayView& logits, const ArrayView& banned, const ArrayView& tokens,
                     const ArrayView& scores);

}  // namespace unrolled
