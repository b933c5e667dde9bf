// Scans whose packed weights and saved values lie in memory that the caller lends, from one call to
// the next: for runtimes that own all memory and keep nothing beside it.
#pragma once

#include <memory>
#include <string>

#include "api/sequence.hpp"

namespace unrolled {

// Bytes of such memory. `saved` is enough for rows of any lengths.
struct LentSizes {
  int64_t packed, saved;
};

// R: columns of the state h.
template <class T>
LentSizes lent_sizes(const std::string& cell, int64_t I, int64_t H, int64_t R, int64_t T_steps,
                     int64_t B, bool backward);

// Weights that pack_weights put into `memory`.
template <class T>
std::shared_ptr<const Weights<T>> lent_weights(const std::string& cell, int64_t I, int64_t H,
                                               int64_t R, bool backward, Buffer<T> memory);

// What run_forward saved in `memory`, all values stored, for x, lengths, resets and reverse of
// `arrays`.
template <class T>
std::unique_ptr<const Saved<T>> lent_saved(const std::shared_ptr<const Weights<T>>& weights,
                                           const ForwardArrays& arrays, Buffer<T> memory);

}  // namespace unrolled
