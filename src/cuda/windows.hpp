// The places of a result and what each of them sees, by the number of an element.
#pragma once

#include "cuda/flat.hpp"
#include "cuda/images.hpp"

namespace unrolled::cuda {

__device__ inline float activated(float z, Activation activation) {
  if (activation == Activation::kNone) return z;
  z = max(z, 0.0f);
  return activation == Activation::kRelu6 ? min(z, 6.0f) : z;
}

// The gradient of z, of that of activated(z) = y.
__device__ inline float behind(float dy, float y, Activation activation) {
  if (activation == Activation::kNone) return dy;
  const bool passes = y > 0.0f && (activation == Activation::kRelu || y < 6.0f);
  return passes ? dy : 0.0f;
}

inline __host__ __device__ int64_t places(const WindowShape& s) { return s.N * s.rows * s.columns; }
inline __host__ __device__ int64_t pixels(const WindowShape& s) { return s.N * s.H * s.W; }

// A place of a result, or of an image.
struct Spot {
  int64_t n, line, column;
};
__device__ inline Spot spot_of(int64_t index, int64_t lines, int64_t columns) {
  return {index / (lines * columns), index / columns % lines, index % columns};
}

// The pixel that a place sees at tap (u, v), or -1 outside of the image.
__device__ inline int64_t seen(const WindowShape& s, const Spot& place, int64_t u, int64_t v) {
  const int64_t line = place.line * s.down - s.top + u,
                column = place.column * s.right - s.left + v;
  if (line < 0 || line >= s.H || column < 0 || column >= s.W) return -1;
  return (place.n * s.H + line) * s.W + column;
}

// The place that sees a pixel at tap (u, v), or -1.
__device__ inline int64_t seer(const WindowShape& s, const Spot& pixel, int64_t u, int64_t v) {
  const int64_t line = pixel.line + s.top - u, column = pixel.column + s.left - v;
  if (line < 0 || column < 0 || line % s.down != 0 || column % s.right != 0) return -1;
  if (line / s.down >= s.rows || column / s.right >= s.columns) return -1;
  return (pixel.n * s.rows + line / s.down) * s.columns + column / s.right;
}

}  // namespace unrolled::cuda
