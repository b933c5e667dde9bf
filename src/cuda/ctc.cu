// The functions of ctc.hpp: the recursions of kernels/ctc.hpp, a block of threads a sequence. The
// 2 S + 1 states lie one behind the other (blank, label, blank, ...): state j is reached from j,
// from j - 1 and, where it is a label other than the one before, from j - 2.
#include "cuda/block.hpp"
#include "cuda/ctc.hpp"
#include "cuda/scan_parts.hpp"

namespace unrolled::cuda {
namespace {

// The log of "impossible". Finite, since -inf - -inf would be NaN; sums stay below half of it.
constexpr float kNever = -1e30f;
constexpr double kImpossible = 5e29;

struct Sequences {
  Ctc call;
  float* normalisers;  // (T, B): log sum exp of the logits
  float* states;       // (B, rows, 2 S + 1): alpha of every frame, two more of beta
  int64_t rows, width;
};

// Rows of states of a sequence.
int64_t rows_of(const Ctc& a) { return a.dlogits == nullptr ? 2 : a.T + 2; }

struct CtcPieces {
  Pieces pieces;
  int64_t normalisers, states;

  explicit CtcPieces(const Ctc& a) {
    normalisers = pieces.take(a.T * a.B);
    states = pieces.take(a.B * rows_of(a) * (2 * a.S + 1));
  }
};

// log(e^a + e^b + e^c). Impossible terms stay impossible.
__device__ float log_add(float a, float b, float c) {
  const float larger = max(a, b), high = max(larger, c);
  return high + log1p(exp(min(a, b) - high) + exp(min(larger, c) - high));
}

// What a block knows of its sequence.
struct Own {
  int64_t b, frames, count, states;
  const int64_t* labels;

  __device__ explicit Own(const Ctc& a)
      : b(blockIdx.x),
        frames(a.frames[b]),
        count(a.counts[b]),
        states(2 * count + 1),
        labels(a.labels + b * a.S) {}
  // Whether state j may be reached from j - 2.
  __device__ bool skips(int64_t j) const {
    return j % 2 == 1 && j >= 3 && j < states && labels[j / 2] != labels[j / 2 - 1];
  }
};

__device__ float emission(const Sequences& a, const Own& own, int64_t t, int64_t j) {
  const int64_t symbol = j % 2 == 1 ? own.labels[j / 2] : a.call.blank;
  const float* z = a.call.logits.data + t * a.call.logits.step + own.b * a.call.logits.row;
  return max(z[symbol] - a.normalisers[t * a.call.B + own.b], kNever);
}

// One block per frame and sequence.
__global__ void normalise_frames(Sequences a) {
  UNROLLED_SHARED(shared);
  const int64_t t = blockIdx.x / a.call.B, b = blockIdx.x % a.call.B;
  if (t >= a.call.frames[b]) return;
  const float* logits = a.call.logits.data + t * a.call.logits.step + b * a.call.logits.row;
  const float sum = log_sum_exp(logits, a.call.V, shared);
  if (threadIdx.x == 0) a.normalisers[blockIdx.x] = sum;
}

// alpha of every frame, each relative to the best state of the one before; what that took off is
// summed in double. Rows are used in turns where no gradient is wanted.
__device__ float ctc_forward(const Sequences& a, const Own& own, float* rows, float* shared) {
  if (own.frames == 0) return own.count == 0 ? 0.0f : INFINITY;
  double taken_off = 0.0;
  float best = 0.0f;
  float* to = rows;
  for (int64_t t = 0; t < own.frames; ++t) {
    const float* from = to;
    to = rows + t % a.rows * a.width;
    taken_off += static_cast<double>(best);
    float top = kNever;
    for (int64_t j = threadIdx.x; j < own.states; j += kBlockThreads) {
      float value = j < 2 ? emission(a, own, t, j) : kNever;
      if (t > 0)
        value = max(
            log_add(from[j], j > 0 ? from[j - 1] : kNever, own.skips(j) ? from[j - 2] : kNever) +
                (emission(a, own, t, j) - best),
            kNever);
      to[j] = value;
      top = max(top, value);
    }
    best = combine_block(shared, top, Largest{});
  }
  const int64_t last = own.states - 1;
  const double end =
      static_cast<double>(log_add(to[last], last > 0 ? to[last - 1] : kNever, kNever));
  const double loss = -(taken_off + end);
  return loss > kImpossible ? INFINITY : static_cast<float>(loss);
}

// beta of frame t (what may follow it, without its own emission) from that of t + 1.
__device__ void step_back(const Sequences& a, const Own& own, int64_t t, float* beta, float* next,
                          float* shared) {
  float top = kNever;
  for (int64_t j = threadIdx.x; j < own.states; j += kBlockThreads) {
    next[j] = max(beta[j] + emission(a, own, t + 1, j), kNever);
    top = max(top, next[j]);
  }
  top = combine_block(shared, top, Largest{});
  for (int64_t j = threadIdx.x; j < own.states; j += kBlockThreads)
    beta[j] = max(log_add(next[j], j + 1 < own.states ? next[j + 1] : kNever,
                          own.skips(j + 2) ? next[j + 2] : kNever) -
                      top,
                  kNever);
}

// dlogits of frame t: softmax minus the probability of being in a state of that symbol. `p` is room
// for the probabilities of the states.
__device__ void ctc_gradient(const Sequences& a, const Own& own, int64_t t, const float* alpha,
                             const float* beta, float* p, float* shared) {
  float top = kNever;
  for (int64_t j = threadIdx.x; j < own.states; j += kBlockThreads)
    top = max(top, alpha[j] + beta[j]);
  top = combine_block(shared, top, Largest{});
  float total = 0.0f, blanks = 0.0f;
  for (int64_t j = threadIdx.x; j < own.states; j += kBlockThreads) {
    p[j] = exp(alpha[j] + beta[j] - top);
    total += p[j];
    if (j % 2 == 0) blanks += p[j];
  }
  const float factor = 1.0f / combine_block(shared, total, Sum{});
  blanks = combine_block(shared, blanks, Sum{});
  const Ctc& call = a.call;
  const float* z = call.logits.data + t * call.logits.step + own.b * call.logits.row;
  float* d = call.dlogits + (t * call.B + own.b) * call.V;
  const float normaliser = a.normalisers[t * call.B + own.b];
  for (int64_t v = threadIdx.x; v < call.V; v += kBlockThreads) d[v] = exp(z[v] - normaliser);
  __syncthreads();
  if (threadIdx.x == 0) d[call.blank] -= factor * blanks;
  const int64_t* next = call.next + own.b * call.S;
  for (int64_t i = threadIdx.x; i < own.count; i += kBlockThreads) {
    if (call.first[own.b * call.S + i] == 0) continue;
    float sum = 0.0f;
    for (int64_t k = i; k >= 0; k = next[k]) sum += p[2 * k + 1];
    d[own.labels[i]] -= factor * sum;
  }
  __syncthreads();  // before p is written over
}

// One block per sequence.
__global__ void ctc_sequences(Sequences a) {
  UNROLLED_SHARED(shared);
  const Own own(a.call);
  float* rows = a.states + own.b * a.rows * a.width;
  const float loss = ctc_forward(a, own, rows, shared);
  if (threadIdx.x == 0) a.call.losses[own.b] = loss;
  if (a.call.dlogits == nullptr) return;
  const int64_t written = loss == INFINITY ? 0 : own.frames;
  float *beta = rows + a.call.T * a.width, *next = beta + a.width;
  for (int64_t t = written - 1; t >= 0; --t) {
    if (t == own.frames - 1)
      for (int64_t j = threadIdx.x; j < own.states; j += kBlockThreads)
        beta[j] = j >= own.states - 2 ? 0.0f : kNever;
    else
      step_back(a, own, t, beta, next, shared);
    ctc_gradient(a, own, t, rows + t * a.width, beta, next, shared);
  }
  for (int64_t t = written; t < a.call.T; ++t)
    for (int64_t v = threadIdx.x; v < a.call.V; v += kBlockThreads)
      a.call.dlogits[(t * a.call.B + own.b) * a.call.V + v] = 0.0f;
}

}  // namespace

int64_t ctc_scratch(const Ctc& a) { return CtcPieces(a).pieces.total; }

void ctc(const Ctc& a, Device& device) {
  const CtcPieces at(a);
  const Sequences work{a, a.scratch + at.normalisers, a.scratch + at.states, rows_of(a),
                       2 * a.S + 1};
  launch(normalise_frames, work, a.T * a.B, kBlockThreads, kBlockSharedBytes, device.stream);
  launch(ctc_sequences, work, a.B, kBlockThreads, kBlockSharedBytes, device.stream);
}

}  // namespace unrolled::cuda
