// A scan on CUDA: what the host hands over. Structs of device pointers and sizes, and the functions
// that put the whole scan on a stream. No CUDA header is needed to include this.
//
// Letters: T steps, B batch, I input, H hidden, R columns of h, G gates, S states. All arrays are
// float and row-major; weights have torch's shapes. Nothing here allocates, waits for the device or
// reads its memory, so that everything can be captured in a CUDA graph: the host gives all scratch.
#pragma once

#include <cstdint>

#include "kernels/table.hpp"

namespace unrolled::cuda {

// The bits of a bfloat16.
struct Bf16 {
  uint16_t bits;
};

// One device as the scan sees it: matrix products, a stream, and how large a kernel may be.
class Device {
 public:
  virtual ~Device() = default;

  // c (m, n) = op(a) op(b) + beta * c in row-major order, where op transposes when it is told to:
  // a is (m, k) or, transposed, (k, m); b is (k, n) or (n, k); ld is the distance of rows in
  // memory. With k = 0 the product is zero.
  virtual void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                    const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                    int64_t ldc) = 0;
  // The same with rounded factors; sums are float.
  virtual void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                    const Bf16* a, int64_t lda, const Bf16* b, int64_t ldb, float beta, float* c,
                    int64_t ldc) = 0;

  void* stream = nullptr;       // a cudaStream_t
  int64_t multiprocessors = 0;  // cudaDevAttrMultiProcessorCount
  int64_t shared_bytes = 0;     // cudaDevAttrMaxSharedMemoryPerBlockOptin
};

// How the steps are run. kSteps: a matrix product and one kernel per step. kPersistent: one kernel
// for all steps that keeps the recurrent weights in shared memory. kAuto chooses by shape.
enum class Path : int { kAuto, kSteps, kPersistent };

// The arrays of a Plan, copied to the device.
struct PlanArrays {
  const int64_t* live;    // [T]
  const int64_t* offset;  // [T + 1]
  const int64_t* order;   // [B]
  const uint8_t* resets;  // as in Plan, or null
};

// One direction of one layer.
struct Layer {
  int cell;                                // its number, see `cell_info`
  Precision precision = Precision::kFull;  // or kBf16, where `has` says so
  int64_t I, H, R;                         // R: columns of h; H unless the cell projects
  LayerParameters<const float> weights;
  GateOptions<float> gates;  // of a cell with functions
};

// Sizes of the arrays that the host gives, in floats.
struct Sizes {
  int64_t states[kMaxStates];
  int64_t saved;              // Forward::saved; 0 at inference
  int64_t forward, backward;  // scratch; of backward 0 at inference
};

struct Forward {
  Layer layer;
  const Plan* plan;  // on the host: live, offset, order and resets point to host memory
  PlanArrays arrays;
  Sequence<const float> x;
  // States that leave each step, y[0] the output; data of the others may be null: not wanted. Dead
  // tokens are left as they are.
  Sequence<float> y[kMaxStates];
  // Shares of its new value that each state takes, the rest stays as it was (zoneout); data may be
  // null: it takes all.
  Sequence<const float> update[kMaxStates];
  // (B, R), what the recurrent product sees h multiplied by; null: ones.
  const float* factors;
  float cell_limit = static_cast<float>(kUnlimited);  // of the state c, see cells/all.hpp
  const float* initial[kMaxStates];                   // (B, H), h (B, R); or null for zeros
  float* final[kMaxStates];  // each written for all rows; may be the initial ones
  // The states that enter each token, and what else BPTT needs: what `sizes` says. At inference
  // `saved` is null and `states` is scratch.
  float* states[kMaxStates];
  float* saved;
  float* scratch;
  Path path;
};

struct Backward {
  Layer layer;
  const Plan* plan;
  PlanArrays arrays;
  Sequence<const float> x;
  Sequence<const float> dy[kMaxStates];  // data may be null: zeros; dead tokens are not read
  Sequence<const float> update[kMaxStates];
  const float* factors;
  float cell_limit = static_cast<float>(kUnlimited);
  // Of the gradient of h that goes to the step before: of its elements, and of its norm over a row,
  // which the steps have to be kernels of their own for.
  float clip_value = static_cast<float>(kUnlimited), clip_norm = static_cast<float>(kUnlimited);
  Sequence<float> dx;  // data may be null: not wanted; dead tokens are left as they are
  bool accumulate_dx;  // dx is added to
  const float* dfinal[kMaxStates];  // as the states, or null for zeros
  float* dinitial[kMaxStates];      // each written for all rows
  const float* states[kMaxStates];  // as left by forward
  const float* saved;               // likewise
  LayerParameters<float> grads;     // added to; each may be null: not wanted
  float* scratch;
  Path path;
};

// What runs the scans of one cell.
struct CellRuns {
  Sizes (*sizes)(const Layer& layer, const Plan& plan, bool training, bool factors);
  bool (*fits)(const Layer& layer, const Device& device);
  void (*forward)(const Forward& args, Device& device);
  void (*backward)(const Backward& args, Device& device);
};

// A cell that is not in the list.
struct CellExtension {
  CellInfo info;
  CellRuns full, bf16;
};

// The cells: names, gates, states; those that were added come last, the latest at the end.
int cell_count();
const CellInfo& cell_info(int cell);
void add_cell(const CellExtension& extension);

// Whether a cell can be run in this precision.
bool has(int cell, Precision precision);

// `factors`: the scan has some.
Sizes sizes(const Layer& layer, const Plan& plan, bool training, bool factors);

// Put a scan on the device's stream. An error of a launch is a std::runtime_error.
void forward(const Forward& args, Device& device);
void backward(const Backward& args, Device& device);

// Whether the persistent kernels can hold a layer on the device.
bool fits(const Layer& layer, const Device& device);

}  // namespace unrolled::cuda
