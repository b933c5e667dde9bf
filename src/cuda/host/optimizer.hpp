// Steps of optimizers over flat arrays (P,) of a device; see api/optimizer.hpp.
#pragma once

#include "api/optimizer.hpp"
#include "cuda/host/arguments.hpp"

namespace unrolled::cuda {

void adam_step(Argument params, Argument grads, Argument m, Argument v, const AdamOptions& options,
               uintptr_t stream);
void sgd_step(Argument params, Argument grads, Argument velocity, const SgdOptions& options,
              uintptr_t stream);
void rmsprop_step(Argument params, Argument grads, Argument square, Argument mean,
                  Argument velocity, const RmspropOptions& options, uintptr_t stream);
void average_step(Argument params, Argument average, double weight, uintptr_t stream);

// Sums of squares of parts of an array, so many of them, to doubles.
int64_t square_sum_count(Argument flat);
void square_sums(Argument flat, Argument sums, uintptr_t stream);

}  // namespace unrolled::cuda
