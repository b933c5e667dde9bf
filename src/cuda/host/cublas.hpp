// cuBLAS, loaded at run time: the few functions of its C interface that a scan needs. Its header
// and its libraries, hundreds of megabytes, are not needed for building.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

// Opens the first of these libraries (paths or names) that can be opened and returns its name;
// nothing is opened twice. Throws std::runtime_error that lists why each could not.
std::string load_cublas(const std::vector<std::string>& candidates);

// In which numbers products multiply; sums are float. With kBf16 a scan gives rounded factors.
enum class Math { kFloat32, kTf32, kBf16 };

// A handle of the current device. Calls go to the stream that was given last.
class Cublas {
 public:
  Cublas();
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  // `workspace` is memory of the device that this handle alone uses.
  void use(void* stream, void* workspace, size_t workspace_bytes);
  // c = op(a) op(b) + beta * c, row-major, as in Device::gemm.
  void gemm(Math math, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
            const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
            int64_t ldc);
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const Bf16* a,
            int64_t lda, const Bf16* b, int64_t ldb, float beta, float* c, int64_t ldc);

 private:
  void multiply(int factor, int compute, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                int64_t k, const void* a, int64_t lda, const void* b, int64_t ldb, float beta,
                float* c, int64_t ldc);

  void* handle_ = nullptr;
};

}  // namespace unrolled::cuda
