// What stands around a scan on CUDA: linear maps, the cross-entropy of a softmax, tables of vectors
// and dropout. As in sequence.hpp these put work on the device's stream, and neither allocate nor
// wait; pointers are of the device.
//
// Letters: N rows, I inputs, O outputs, V classes or rows of a table, E their width.
#pragma once

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

// y = x weight^T + bias
struct LinearForward {
  int64_t N, I, O;
  const float *x, *weight, *bias;  // (N, I), (O, I) and (O,); bias may be null
  float* y;                        // (N, O)
};
void linear(const LinearForward& args, Device& device);

struct LinearBackward {
  int64_t N, I, O;
  const float *x, *weight, *dy;
  float* dx;               // (N, I); null: not wanted
  float *dweight, *dbias;  // added to; dbias may be null
};
void linear_backward(const LinearBackward& args, Device& device);

// Of softmax(x weight^T + bias), as linear_cross_entropy on the CPU: a block of logits at a time.
struct CrossEntropy {
  Precision precision;  // kFull or kBf16
  int64_t N, I, V;
  const float *x, *weight, *bias;  // (N, I), (V, I) and (V,); bias may be null
  const int64_t* targets;          // (N,), below V; negative: does not count
  float scale, smoothing;
  float* losses;                // (N,)
  float *dx, *dweight, *dbias;  // of scale * sum(losses), dweight and dbias added to; dx null:
                                // none of them is wanted; dbias may be null
  float* scratch;               // so many floats:
};
int64_t cross_entropy_scratch(const CrossEntropy& args);
void cross_entropy(const CrossEntropy& args, Device& device);

// out (N, E) = rows of table (V, E)
struct Gather {
  int64_t N, E;
  const int64_t* indices;  // (N,), in 0 .. V - 1
  const float* table;
  float* out;
};
void gather(const Gather& args, Device& device);

// Adds the rows of dy (N, E) to rows of a table (V, E): those of one row of the table in the order
// of dy, as on the CPU.
struct ScatterAdd {
  int64_t rows, E;        // rows: of the table, that get any
  const int64_t* places;  // (rows,), in the table
  const int64_t* begin;   // (rows + 1,), of each one's part of
  const int64_t* order;   // (N,), rows of dy
  const float* dy;
  float* table;
};
void scatter_add(const ScatterAdd& args, Device& device);

// Element i is kept where its random word, number offset + i of `seed`, is not below `threshold`.
struct Dropout {
  int64_t size;
  const float* x;
  float* out;
  float factor;  // of what is kept
  uint64_t seed, offset, threshold;
};
void dropout(const Dropout& args, Device& device);

}  // namespace unrolled::cuda
