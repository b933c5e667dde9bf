// What stands around a scan, on a device: every argument is checked here, then head.hpp's work is
// put on the caller's stream. Indices and targets lie on the host, whose checks they pass, and are
// copied to `memory`, an array of int64 on the device.
#pragma once

#include <string>

#include "cuda/host/arguments.hpp"

namespace unrolled::cuda {

// x (..., I), weight (O, I), bias (O,) or null, y (..., O).
void linear(Argument x, Argument weight, Argument bias, Argument y, uintptr_t stream);
// Adds to dweight and dbias; dx and dbias may be null.
void linear_backward(Argument x, Argument weight, Argument dy, Argument dx, Argument dweight,
                     Argument dbias, uintptr_t stream);

struct CrossEntropyArguments {
  Argument x, weight, bias;  // (N, H), (V, H) and (V,) or null
  ArrayView targets;         // (N,) on the host; negative: does not count
  Argument losses;           // (N,)
  double scale, smoothing;
  Argument dx, dweight, dbias;  // dx and dweight both or neither; dweight and dbias are added to
  Argument memory, scratch;     // (N,) and what `cross_entropy_scratch` says
  std::string precision;
};
int64_t cross_entropy_scratch(int64_t N, int64_t I, int64_t V, bool gradients,
                              const std::string& precision);
void cross_entropy(const CrossEntropyArguments& arrays, uintptr_t stream);

// out (N, E) = rows of weight (V, E); memory (N,).
void embedding(const ArrayView& indices, Argument weight, Argument out, Argument memory,
               uintptr_t stream);
// Adds dy (N, E) to rows of dweight (V, E); memory (3 N + 1,).
void embedding_backward(const ArrayView& indices, Argument dy, Argument dweight, Argument memory,
                        uintptr_t stream);

// x and out (...), contiguous.
void dropout(Argument x, Argument out, double p, uint64_t seed, uint64_t offset, uintptr_t stream);

}  // namespace unrolled::cuda
