// The Device of a scan: cuBLAS on the caller's stream, and CUDA graphs of scans that come again.
#pragma once

#include <functional>
#include <list>
#include <mutex>
#include <string>

#include "cuda/host/cublas.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {

// Makes a device the current one of this thread for as long as it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};

// What belongs to one stream of one device. Its handle of cuBLAS has memory of its own, and scans
// on one stream follow each other, so that nothing is used twice at a time.
class Context final : public Device {
 public:
  // The one of this stream, made when it is first asked for; `device` must be the current one. It
  // stays until the program ends.
  static Context& of(int device, void* stream);

  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
            int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) override;
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const Bf16* a,
            int64_t lda, const Bf16* b, int64_t ldb, float beta, float* c, int64_t ldc) override;

  // Puts a scan on the stream. `launch` does so, kernel by kernel, on what `stream` then is. `key`
  // is all that decides what it launches. A key that comes for the second time is captured into a
  // graph, which costs about two launches, and launched as a whole from then on: a scan in steps is
  // thousands of small kernels, and the device would wait for this thread.
  void run(Math math, const std::string& key, const std::function<void()>& launch);
  // The same without graphs, for a few launches.
  void run(Math math, const std::function<void()>& launch);

 private:
  struct Graph {
    std::string key;
    void* executable;  // cudaGraphExec_t; null: seen once
  };

  Context(int device, void* stream);
  void check_not_captured() const;
  void use(void* chosen);
  void* capture(const std::function<void()>& launch);
  Graph& find(const std::string& key, bool& known);

  std::mutex busy_;
  Cublas cublas_;
  Math math_ = Math::kFloat32;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
  void* own_stream_ = nullptr;      // the caller's
  void* capture_stream_ = nullptr;  // the default stream cannot be captured
  std::list<Graph> graphs_;         // the last used first
};

}  // namespace unrolled::cuda
