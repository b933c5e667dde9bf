// The functions of head.hpp.
#include "cuda/flat.hpp"
#include "cuda/head.hpp"
#include "cuda/scan_parts.hpp"
#include "cuda/softmax.hpp"
#include "kernels/philox.hpp"

namespace unrolled::cuda {
namespace {

// Logits that exist at a time, 64 MiB of them, in blocks of no fewer rows than keep a device busy.
constexpr int64_t kMostLogits = int64_t{1} << 24, kFewestRows = 256;

int64_t block_rows(const CrossEntropy& a) {
  return smaller(a.N, larger(kMostLogits / larger(a.V, 1), kFewestRows));
}

// y (rows, columns) = row, over and over.
struct Repeat {
  const float* row;
  float* y;
  int64_t size, columns;
};

__global__ void repeat_row(Repeat a) {
  const int64_t i = own_element();
  if (i < a.size) a.y[i] = a.row[i % a.columns];
}

__global__ void gather_table(Gather a) {
  const float* from = a.table + a.indices[blockIdx.x] * a.E;
  float* to = a.out + blockIdx.x * a.E;
  for (int64_t e = threadIdx.x; e < a.E; e += blockDim.x) to[e] = from[e];
}

__global__ void scatter_add_table(ScatterAdd a) {
  const int64_t begin = a.begin[blockIdx.x], end = a.begin[blockIdx.x + 1];
  float* to = a.table + a.places[blockIdx.x] * a.E;
  for (int64_t e = threadIdx.x; e < a.E; e += blockDim.x) {
    float sum = to[e];
    for (int64_t i = begin; i < end; ++i) sum += a.dy[a.order[i] * a.E + e];
    to[e] = sum;
  }
}

// A thread takes the elements of one block of four random words.
__global__ void drop(Dropout a) {
  const uint64_t block = a.offset / 4 + static_cast<uint64_t>(own_element());
  const uint64_t end = a.offset + static_cast<uint64_t>(a.size);
  if (block * 4 >= end) return;
  const PhiloxBlock words = philox(a.seed, block);
#pragma unroll
  for (uint64_t word = 0; word < 4; ++word) {
    const uint64_t index = block * 4 + word;
    if (index < a.offset || index >= end) continue;
    const uint64_t i = index - a.offset;
    a.out[i] = words.word[word] >= a.threshold ? a.x[i] * a.factor : 0.0f;
  }
}

// y (rows, O) = x weight^T + bias.
template <class E>
void linear_rows(int64_t rows, int64_t I, int64_t O, const E* x, const E* weight, const float* bias,
                 float* y, Device& device) {
  if (bias != nullptr) launch_flat(repeat_row, {bias, y, rows * O, O}, rows * O, device);
  multiply<E>(device, false, true, rows, O, I, {x, I}, {weight, I}, bias == nullptr ? 0.0f : 1.0f,
              {y, O});
}

// The scratch of a loss: logits and, where operands are rounded, those.
struct LossPieces {
  Pieces pieces;
  int64_t logits, weight = 0, x = 0, gradients = 0;

  explicit LossPieces(const CrossEntropy& a) {
    const int64_t rows = block_rows(a);
    logits = gradients = pieces.take(rows * a.V);
    if (a.precision == Precision::kFull) return;
    weight = pieces.take(floats_of<Bf16>(a.V * a.I));
    x = pieces.take(floats_of<Bf16>(rows * a.I));
    if (a.dx != nullptr) gradients = pieces.take(floats_of<Bf16>(rows * a.V));
  }
};

template <class E>
void cross_entropy_of(const CrossEntropy& a, Device& device) {
  const LossPieces at(a);
  float* logits = a.scratch + at.logits;
  E* gradients = a.dx == nullptr ? nullptr : piece<E>(a, at.gradients);
  const int64_t most = block_rows(a), I = a.I, V = a.V;
  const E* weight = operand(a.weight, V * I, piece<E>(a, at.weight), device);
  for (int64_t begin = 0; begin < a.N; begin += most) {
    const int64_t rows = smaller(most, a.N - begin);
    const E* x = operand(a.x + begin * I, rows * I, piece<E>(a, at.x), device);
    linear_rows(rows, I, V, x, weight, a.bias, logits, device);
    launch(softmax_rows<E>,
           {V, logits, a.targets + begin, a.losses + begin, gradients, a.scale, a.smoothing}, rows,
           kBlockThreads, kBlockSharedBytes, device.stream);
    if (gradients == nullptr) continue;
    multiply<E>(device, false, false, rows, I, V, {gradients, V}, {weight, I}, 0.0f,
                {a.dx + begin * I, I});
    add_product<E>(a.dweight, gradients, V, x, I, rows, device);
    add_column_sums<E>(gradients, rows, V, a.dbias, device);
  }
}

}  // namespace

void linear(const LinearForward& a, Device& device) {
  linear_rows(a.N, a.I, a.O, a.x, a.weight, a.bias, a.y, device);
}

void linear_backward(const LinearBackward& a, Device& device) {
  add_product(a.dweight, a.dy, a.O, a.x, a.I, a.N, device);
  add_column_sums(a.dy, a.N, a.O, a.dbias, device);
  if (a.dx != nullptr)
    multiply<float>(device, false, false, a.N, a.I, a.O, {a.dy, a.O}, {a.weight, a.I}, 0.0f,
                    {a.dx, a.I});
}

int64_t cross_entropy_scratch(const CrossEntropy& a) { return LossPieces(a).pieces.total; }

void cross_entropy(const CrossEntropy& a, Device& device) {
  a.precision == Precision::kBf16 ? cross_entropy_of<Bf16>(a, device)
                                  : cross_entropy_of<float>(a, device);
}

void gather(const Gather& a, Device& device) {
  launch(gather_table, a, a.N, kRowThreads, 0, device.stream);
}

void scatter_add(const ScatterAdd& a, Device& device) {
  launch(scatter_add_table, a, a.rows, kRowThreads, 0, device.stream);
}

void dropout(const Dropout& a, Device& device) {
  if (a.size == 0) return;
  const uint64_t first = a.offset / 4, last = (a.offset + static_cast<uint64_t>(a.size) - 1) / 4;
  launch_flat(drop, a, static_cast<int64_t>(last - first + 1), device);
}

}  // namespace unrolled::cuda
