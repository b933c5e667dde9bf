// Errors of the CUDA run time as C++ exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace unrolled::cuda {

// Throws std::runtime_error when a call failed; `what` says what was being done.
inline void ensure(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a failed call is not reported again by the next one
  throw std::runtime_error("[cuda] expected " + std::string(what) + ", got " +
                           cudaGetErrorName(status) + ": " + cudaGetErrorString(status));
}

}  // namespace unrolled::cuda
