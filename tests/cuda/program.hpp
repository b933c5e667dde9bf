// What the programs of this folder share: files of arrays, and matrix products on the host.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "cuda/bf16.hpp"
#include "cuda/emulation.hpp"

namespace unrolled {

class PlainDevice : public cuda::Device {
 public:
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
            int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) override {
    multiply(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
  }
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
            const cuda::Bf16* a, int64_t lda, const cuda::Bf16* b, int64_t ldb, float beta,
            float* c, int64_t ldc) override {
    multiply(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
  }

 private:
  template <class E>
  static void multiply(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                       const E* a, int64_t lda, const E* b, int64_t ldb, float beta, float* c,
                       int64_t ldc) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0.0f;
        for (int64_t l = 0; l < k; ++l)
          sum += cuda::to_float(transpose_a ? a[l * lda + i] : a[i * lda + l]) *
                 cuda::to_float(transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
        float& to = c[i * ldc + j];
        to = beta == 0.0f ? sum : sum + beta * to;
      }
  }
};

struct Input {
  std::FILE* file;

  template <class T>
  std::vector<T> array(int64_t size) {
    std::vector<T> values(static_cast<size_t>(size));
    if (size > 0 && std::fread(values.data(), sizeof(T), values.size(), file) != values.size()) {
      std::fprintf(stderr, "the input is too short\n");
      std::exit(1);
    }
    return values;
  }
  int64_t number() { return array<int64_t>(1)[0]; }
  // Empty, with null data, where it was left out.
  template <class T>
  std::vector<T> optional(int64_t size) {
    return number() != 0 ? array<T>(size) : std::vector<T>();
  }
};

inline std::vector<float> unset(int64_t size,
                                float value = std::numeric_limits<float>::quiet_NaN()) {
  return std::vector<float>(static_cast<size_t>(size), value);
}

template <class T>
T* data(std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

inline void write(std::FILE* file, const std::vector<float>& values) {
  if (values.empty()) return;
  if (std::fwrite(values.data(), sizeof(float), values.size(), file) != values.size()) std::exit(1);
}

// Runs the one whose number `in` holds, threads in an order of the seed behind it.
template <size_t N>
void run_one_of(void (*const (&runs)[N])(Input&, PlainDevice&, std::FILE*), Input& in,
                std::FILE* out) {
  PlainDevice device;
  const auto which = static_cast<size_t>(in.number());
  emulation::seed(static_cast<unsigned>(in.number()));
  runs[which](in, device, out);
}

// All read what `in` holds, one number or array behind the other, and write results to `out`.
void run_scan(Input& in, std::FILE* out);
void run_head(Input& in, std::FILE* out);
void run_models(Input& in, std::FILE* out);

}  // namespace unrolled
