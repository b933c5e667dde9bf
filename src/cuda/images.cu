// Pooling and batch normalisation of images.hpp.
#include "cuda/products.hpp"
#include "cuda/windows.hpp"

namespace unrolled::cuda {
namespace {

// Whether `a` is in front of `b` in a search for the largest value, where a NaN is larger than all.
__device__ bool beats(float a, float b) { return a > b || (a != a && b == b); }

__global__ void max_pool_elements(MaxPool a) {
  const int64_t i = own_element();
  const WindowShape& s = a.shape;
  if (i >= places(s) * s.C) return;
  const Spot place = spot_of(i / s.C, s.rows, s.columns);
  float top = -INFINITY;
  for (int64_t u = 0; u < s.h; ++u)
    for (int64_t v = 0; v < s.w; ++v) {
      const int64_t pixel = seen(s, place, u, v);
      if (pixel >= 0 && beats(a.x[pixel * s.C + i % s.C], top)) top = a.x[pixel * s.C + i % s.C];
    }
  a.y[i] = top;
}

// The pixel whose value a place took: the first of the largest.
__device__ int64_t taken(const MaxPoolBackward& a, int64_t index, int64_t channel) {
  const WindowShape& s = a.shape;
  const Spot place = spot_of(index, s.rows, s.columns);
  const float y = a.y[index * s.C + channel];
  for (int64_t u = 0; u < s.h; ++u)
    for (int64_t v = 0; v < s.w; ++v) {
      const int64_t pixel = seen(s, place, u, v);
      if (pixel < 0) continue;
      const float x = a.x[pixel * s.C + channel];
      if (x == y || (x != x && y != y)) return pixel;
    }
  return -1;
}

__global__ void max_pool_backward_elements(MaxPoolBackward a) {
  const int64_t i = own_element();
  const WindowShape& s = a.shape;
  if (i >= pixels(s) * s.C) return;
  const Spot pixel = spot_of(i / s.C, s.H, s.W);
  float sum = 0.0f;
  for (int64_t u = 0; u < s.h; ++u)
    for (int64_t v = 0; v < s.w; ++v) {
      const int64_t place = seer(s, pixel, u, v);
      if (place >= 0 && taken(a, place, i % s.C) == i / s.C) sum += a.dy[place * s.C + i % s.C];
    }
  a.dx[i] = sum;
}

// Two sums over the rows of each of 32 channels, in double: one block of threads each, and all of
// its threads of part 0 have the result. The order of terms depends on the shape alone.
template <class Term>
__device__ void sum_channels(float* shared, int64_t rows, bool has_channel, Term term,
                             double (&sum)[2]) {
  auto* parts = reinterpret_cast<double*>(shared);  // [2][kSumParts][kSumColumns]
  const int lane = threadIdx.x % kSumColumns, part = threadIdx.x / kSumColumns;
  sum[0] = sum[1] = 0.0;
  if (has_channel)
    for (int64_t row = part; row < rows; row += kSumParts) term(row, sum);
  for (int k = 0; k < 2; ++k) parts[(k * kSumParts + part) * kSumColumns + lane] = sum[k];
  __syncthreads();
  for (int k = 0; k < 2; ++k) {
    sum[k] = 0.0;
    for (int other = 0; other < kSumParts; ++other)
      sum[k] += parts[(k * kSumParts + other) * kSumColumns + lane];
  }
  __syncthreads();  // before the next sums are written
}
constexpr int64_t kChannelSharedBytes = 2 * kSumParts * kSumColumns * sizeof(double);

template <class Args>
void launch_channels(void (*kernel)(Args), const std::type_identity_t<Args>& args, int64_t C,
                     Device& device) {
  launch(kernel, args, ceil_div(C, kSumColumns), kSumColumns * kSumParts, kChannelSharedBytes,
         device.stream);
}

__device__ int64_t own_channel() {
  return static_cast<int64_t>(blockIdx.x) * kSumColumns + threadIdx.x % kSumColumns;
}

__global__ void moments_of_channels(Moments a) {
  UNROLLED_SHARED(shared);
  const int64_t c = own_channel();
  const auto count = static_cast<double>(a.rows);
  double sum[2];
  sum_channels(
      shared, a.rows, c < a.C,
      [&](int64_t row, double (&to)[2]) { to[0] += static_cast<double>(a.x[row * a.C + c]); }, sum);
  const double mean = sum[0] / count;
  sum_channels(
      shared, a.rows, c < a.C,
      [&](int64_t row, double (&to)[2]) {
        const double d = static_cast<double>(a.x[row * a.C + c]) - mean;
        to[0] += d * d;
      },
      sum);
  if (threadIdx.x / kSumColumns != 0 || c >= a.C) return;
  a.mean[c] = static_cast<float>(mean);
  a.variance[c] = static_cast<float>(sum[0] / count);
}

// One over the deviation, rounded once.
__device__ float inverse(float variance, float epsilon) {
  return static_cast<float>(1.0 /
                            ::sqrt(static_cast<double>(variance) + static_cast<double>(epsilon)));
}

__global__ void normalise_elements(Normalise a) {
  const int64_t i = own_element();
  if (i >= a.rows * a.C) return;
  const int64_t c = i % a.C;
  const float scale = a.weight[c] * inverse(a.variance[c], a.epsilon);
  a.y[i] = activated(multiply_add(a.x[i] - a.mean[c], scale, a.bias[c]), a.activation);
}

// dbias and dweight, and the same for the pass behind it.
__global__ void normalise_sums(NormaliseBackward a) {
  UNROLLED_SHARED(shared);
  const int64_t c = own_channel();
  const bool has_channel = c < a.C;
  const float mean = has_channel ? a.mean[c] : 0.0f;
  double sum[2];
  sum_channels(
      shared, a.rows, has_channel,
      [&](int64_t row, double (&to)[2]) {
        const int64_t i = row * a.C + c;
        const double dz = static_cast<double>(behind(a.dy[i], a.y[i], a.activation));
        to[0] += dz;
        to[1] += dz * static_cast<double>(a.x[i] - mean);
      },
      sum);
  if (threadIdx.x / kSumColumns != 0 || !has_channel) return;
  a.sums[c] = static_cast<float>(sum[0]);
  a.sums[a.C + c] =
      static_cast<float>(sum[1] * static_cast<double>(inverse(a.variance[c], a.epsilon)));
  a.dbias[c] += a.sums[c];
  a.dweight[c] += a.sums[a.C + c];
}

__global__ void normalise_dx(NormaliseBackward a) {
  const int64_t i = own_element();
  if (i >= a.rows * a.C) return;
  const int64_t c = i % a.C;
  const float own = inverse(a.variance[c], a.epsilon);
  float d = behind(a.dy[i], a.y[i], a.activation);
  if (a.of_batch) {
    const float count = static_cast<float>(a.rows), hat = (a.x[i] - a.mean[c]) * own;
    d -= a.sums[c] / count + hat * (a.sums[a.C + c] / count);
  }
  a.dx[i] = a.weight[c] * own * d;
}

}  // namespace

void max_pool(const MaxPool& a, Device& device) {
  launch_flat(max_pool_elements, a, places(a.shape) * a.shape.C, device);
}

void max_pool_backward(const MaxPoolBackward& a, Device& device) {
  launch_flat(max_pool_backward_elements, a, pixels(a.shape) * a.shape.C, device);
}

void moments(const Moments& a, Device& device) {
  launch_channels(moments_of_channels, a, a.C, device);
}

void normalise(const Normalise& a, Device& device) {
  launch_flat(normalise_elements, a, a.rows * a.C, device);
}

void normalise_backward(const NormaliseBackward& a, Device& device) {
  launch_channels(normalise_sums, a, a.C, device);
  if (a.dx != nullptr) launch_flat(normalise_dx, a, a.rows * a.C, device);
}

}  // namespace unrolled::cuda
