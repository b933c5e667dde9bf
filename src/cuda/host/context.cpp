#include "cuda/host/context.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "cuda/host/ensure.hpp"

namespace unrolled::cuda {
namespace {

constexpr size_t kGraphs = 32;  // that a stream keeps

// What cuBLAS is advised to have: 32 MiB since Hopper, 4 MiB before.
size_t workspace_size(int major) { return (major >= 9 ? size_t{32} : size_t{4}) << 20; }

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  ensure(cudaDeviceGetAttribute(&value, which, device), "an attribute of the device");
  return value;
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

CurrentDevice::CurrentDevice(int device) {
  ensure(cudaGetDevice(&before_), "a CUDA device");
  ensure(cudaSetDevice(device), "the device of the arrays");
}

CurrentDevice::~CurrentDevice() { cudaSetDevice(before_); }

Context& Context::of(int device, void* stream) {
  using Key = std::pair<int, void*>;
  // Never destroyed: at the end of the program the driver may go first.
  static auto& contexts = *new std::map<Key, std::unique_ptr<Context>>;
  static auto& making = *new std::mutex;
  const std::lock_guard lock(making);
  std::unique_ptr<Context>& held = contexts[{device, stream}];
  if (!held) held.reset(new Context(device, stream));
  return *held;
}

Context::Context(int device, void* own) : own_stream_(own) {
  stream = own;
  multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
  shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  workspace_bytes_ = workspace_size(attribute(cudaDevAttrComputeCapabilityMajor, device));
  ensure(cudaMalloc(&workspace_, workspace_bytes_), "memory for cuBLAS");
  cudaStream_t made;
  ensure(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "a stream");
  capture_stream_ = made;
}

void Context::gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                   int64_t ldc) {
  cublas_.gemm(math_, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void Context::gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const Bf16* a, int64_t lda, const Bf16* b, int64_t ldb, float beta, float* c,
                   int64_t ldc) {
  cublas_.gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void Context::use(void* chosen) {
  stream = chosen;
  cublas_.use(chosen, workspace_, workspace_bytes_);
}

void Context::check_not_captured() const {
  cudaStreamCaptureStatus status;
  ensure(cudaStreamIsCapturing(stream_of(own_stream_), &status), "to know if a stream is captured");
  if (status != cudaStreamCaptureStatusNone)
    throw std::runtime_error(
        "[cuda] expected a stream that is not being captured: scans make graphs of their own");
}

void Context::run(Math math, const std::function<void()>& launch) {
  const std::lock_guard lock(busy_);
  check_not_captured();
  math_ = math;
  use(own_stream_);
  launch();
}

void Context::run(Math math, const std::string& key, const std::function<void()>& launch) {
  const std::lock_guard lock(busy_);
  check_not_captured();
  math_ = math;
  bool known = false;
  Graph& graph = find(key, known);
  if (known && graph.executable == nullptr) graph.executable = capture(launch);
  if (graph.executable == nullptr) {
    use(own_stream_);
    launch();
  } else {
    ensure(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph.executable), stream_of(own_stream_)),
           "a graph to be launched");
  }
}

void* Context::capture(const std::function<void()>& launch) {
  const cudaStream_t into = stream_of(capture_stream_);
  use(capture_stream_);
  ensure(cudaStreamBeginCapture(into, cudaStreamCaptureModeThreadLocal), "a capture to begin");
  cudaGraph_t graph = nullptr;
  try {
    launch();
  } catch (...) {
    cudaStreamEndCapture(into, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  ensure(cudaStreamEndCapture(into, &graph), "a capture to end");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  ensure(status, "a graph");
  return executable;
}

Context::Graph& Context::find(const std::string& key, bool& known) {
  const auto at = std::find_if(graphs_.begin(), graphs_.end(),
                               [&](const Graph& graph) { return graph.key == key; });
  known = at != graphs_.end();
  if (known) {
    graphs_.splice(graphs_.begin(), graphs_, at);
    return graphs_.front();
  }
  if (graphs_.size() == kGraphs) {
    if (graphs_.back().executable != nullptr)
      cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graphs_.back().executable));
    graphs_.pop_back();
  }
  graphs_.push_front({key, nullptr});
  return graphs_.front();
}

}  // namespace unrolled::cuda
