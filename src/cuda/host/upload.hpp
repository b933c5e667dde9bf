// Integers of the host for kernels: lengths, indices, labels.
#pragma once

#include "cuda/host/arguments.hpp"

namespace unrolled::cuda {

// Copies integers of the host to `memory`, an array of so many int64 on the device.
const int64_t* upload(const char* where, const int64_t* values, int64_t count, Argument memory,
                      Arguments& given, uintptr_t stream);

}  // namespace unrolled::cuda
