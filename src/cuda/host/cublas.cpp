#include "cuda/host/cublas.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>
#include <sstream>
#include <stdexcept>

namespace unrolled::cuda {
namespace {

// Values out of cuBLAS's documented interface.
constexpr int kNoTranspose = 0, kTranspose = 1;  // cublasOperation_t
constexpr int kFloat = 0, kBfloat16 = 14;        // cudaDataType CUDA_R_32F, CUDA_R_16BF
constexpr int kFloat32 = 68, kPedantic32 = 69, kFastTf32 = 77;  // cublasComputeType_t
constexpr int kDefaultAlgorithm = -1;                           // cublasGemmAlgo_t

struct Functions {
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*set_stream)(void* handle, void* stream);
  int (*set_workspace)(void* handle, void* workspace, size_t bytes);
  int (*gemm)(void* handle, int transa, int transb, int64_t m, int64_t n, int64_t k,
              const void* alpha, const void* a, int a_type, int64_t lda, const void* b, int b_type,
              int64_t ldb, const void* beta, void* c, int c_type, int64_t ldc, int compute_type,
              int algorithm);
  const char* (*status_text)(int status);
};

std::mutex loading;
Functions functions{};
std::string loaded;  // empty until it is

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

// Null where a function is missing, as in a cuBLAS before CUDA 12.
const char* find_functions(void* library, Functions& found) {
  const char* missing = nullptr;
  const auto need = [&](const char* name, auto& function) {
    if (!find(library, name, function)) missing = name;
  };
  need("cublasCreate_v2", found.create);
  need("cublasDestroy_v2", found.destroy);
  need("cublasSetStream_v2", found.set_stream);
  need("cublasSetWorkspace_v2", found.set_workspace);
  need("cublasGemmEx_64", found.gemm);
  need("cublasGetStatusString", found.status_text);
  return missing;
}

void check(int status, const char* what) {
  if (status != 0)
    throw std::runtime_error("[cuda] expected " + std::string(what) + ", got " +
                             functions.status_text(status));
}

}  // namespace

std::string load_cublas(const std::vector<std::string>& candidates) {
  const std::lock_guard lock(loading);
  if (!loaded.empty()) return loaded;
  std::ostringstream reasons;
  for (const std::string& name : candidates) {
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      reasons << "\n  " << dlerror();
      continue;
    }
    Functions found{};
    if (const char* missing = find_functions(library, found)) {
      reasons << "\n  " << name << ": has no " << missing;
      dlclose(library);
      continue;
    }
    functions = found;
    return loaded = name;
  }
  throw std::runtime_error("[cuda] expected cuBLAS of CUDA 12 or later, got none of:" +
                           reasons.str());
}

Cublas::Cublas() {
  if (loaded.empty()) throw std::runtime_error("[cuda] expected load_cublas to have been called");
  check(functions.create(&handle_), "a handle of cuBLAS");
}

Cublas::~Cublas() { functions.destroy(handle_); }

void Cublas::use(void* stream, void* workspace, size_t workspace_bytes) {
  check(functions.set_stream(handle_, stream), "cuBLAS to take the stream");
  // After the stream, which resets it. Without a workspace of its own a captured product would
  // allocate, and one stream would use the memory of another.
  check(functions.set_workspace(handle_, workspace, workspace_bytes), "cuBLAS to take its memory");
}

void Cublas::gemm(Math math, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                  int64_t ldc) {
  multiply(kFloat, math == Math::kTf32 ? kFastTf32 : kPedantic32, transpose_a, transpose_b, m, n, k,
           a, lda, b, ldb, beta, c, ldc);
}

void Cublas::gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  const Bf16* a, int64_t lda, const Bf16* b, int64_t ldb, float beta, float* c,
                  int64_t ldc) {
  multiply(kBfloat16, kFloat32, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void Cublas::multiply(int factor, int compute, bool transpose_a, bool transpose_b, int64_t m,
                      int64_t n, int64_t k, const void* a, int64_t lda, const void* b, int64_t ldb,
                      float beta, float* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  const float one = 1.0f;
  const auto operation = [](bool transpose) { return transpose ? kTranspose : kNoTranspose; };
  // The distance of rows means nothing where there is one or none; cuBLAS checks it all the same.
  const auto distance = [](int64_t ld, int64_t rows, int64_t columns) {
    return std::max(rows > 1 ? ld : columns, int64_t{1});
  };
  lda = transpose_a ? distance(lda, k, m) : distance(lda, m, k);
  ldb = transpose_b ? distance(ldb, n, k) : distance(ldb, k, n);
  ldc = distance(ldc, m, n);
  // cuBLAS is column-major: it sees transposes, and c' = op(b)' op(a)'.
  check(functions.gemm(handle_, operation(transpose_b), operation(transpose_a), n, m, k, &one, b,
                       factor, ldb, a, factor, lda, &beta, c, kFloat, ldc, compute,
                       kDefaultAlgorithm),
        "a product of cuBLAS");
}

}  // namespace unrolled::cuda
