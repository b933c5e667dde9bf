// The functions of cuBLAS that src/cuda/host/cublas.cpp looks up, with the checks of the real ones
// and one of their own: that the handle has memory of its own before it multiplies.
#include <cstdint>
#include <cstring>

#include "cuda/emulation.hpp"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

enum Status { kSuccess = 0, kInvalidValue = 7, kNotSupported = 15 };
enum Compute { kFloat32 = 68, kPedantic32 = 69, kFastTf32 = 77 };
enum Type { kFloat = 0, kBfloat16 = 14 };

struct Handle {
  void* stream = nullptr;
  void* workspace = nullptr;
};

// To 10 bits after the point, to nearest.
float tf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x1000u) & ~0x1fffu;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

float bf16(uint16_t upper_half) {
  const uint32_t bits = static_cast<uint32_t>(upper_half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

EXPORTED int cublasCreate_v2(void** handle) {
  *handle = new Handle;
  return kSuccess;
}
EXPORTED int cublasDestroy_v2(void* handle) {
  delete static_cast<Handle*>(handle);
  return kSuccess;
}
EXPORTED int cublasSetStream_v2(void* handle, void* stream) {
  *static_cast<Handle*>(handle) = {stream, nullptr};
  return kSuccess;
}
EXPORTED int cublasSetWorkspace_v2(void* handle, void* workspace, size_t) {
  static_cast<Handle*>(handle)->workspace = workspace;
  return kSuccess;
}
EXPORTED const char* cublasGetStatusString(int status) {
  return status == kInvalidValue ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_NOT_SUPPORTED";
}

// Column-major: c (m, n) = alpha op(a) op(b) + beta c.
EXPORTED int cublasGemmEx_64(void* handle, int transa, int transb, int64_t m, int64_t n, int64_t k,
                             const void* alpha, const void* a, int a_type, int64_t lda,
                             const void* b, int b_type, int64_t ldb, const void* beta, void* c,
                             int c_type, int64_t ldc, int compute_type, int algorithm) {
  const auto at_least = [](int64_t rows) { return rows > 1 ? rows : 1; };
  if (static_cast<Handle*>(handle)->workspace == nullptr) return kInvalidValue;
  if (m < 0 || n < 0 || k < 0 || lda < at_least(transa == 0 ? m : k) ||
      ldb < at_least(transb == 0 ? k : n) || ldc < at_least(m))
    return kInvalidValue;
  const bool full = a_type == kFloat && (compute_type == kPedantic32 || compute_type == kFastTf32);
  const bool rounded = a_type == kBfloat16 && compute_type == kFloat32;
  if (!(full || rounded) || b_type != a_type || c_type != kFloat || algorithm != -1)
    return kNotSupported;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  auto* to = static_cast<float*>(c);
  emulation::enqueue([=] {
    const auto factor = [=](const void* of, int64_t i) {
      if (rounded) return bf16(static_cast<const uint16_t*>(of)[i]);
      const float value = static_cast<const float*>(of)[i];
      return compute_type == kFastTf32 ? tf32(value) : value;
    };
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < m; ++i) {
        float sum = 0.0f;
        for (int64_t l = 0; l < k; ++l)
          sum += factor(a, transa == 0 ? l * lda + i : i * lda + l) *
                 factor(b, transb == 0 ? j * ldb + l : l * ldb + j);
        float& value = to[j * ldc + i];
        value = scale * sum + (keep == 0.0f ? 0.0f : keep * value);
      }
  });
  return kSuccess;
}
