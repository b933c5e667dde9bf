#include "api/head.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "api/plan.hpp"
#include "api/weights.hpp"
#include "kernels/philox.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// The kernels of a precision of the table in use; of int8 there are none.
template <class T>
const HeadKernels<T>& find_head(const char* function, Precision precision = Precision::kFull) {
  const HeadKernels<T>* found = kernels_of<T>(kernels()).heads[static_cast<int>(precision)];
  if (found == nullptr) fail_value("[", function, "] expected precision full or bf16, got int8");
  return *found;
}

double product_flops(int64_t a, int64_t b, int64_t c) {
  return 2.0 * static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

}  // namespace

template <class T>
PackedLinear<T>::PackedLinear(const KernelTable& kernel_table, const HeadKernels<T>& head,
                              const T* weight, const T* from_bias, int64_t outputs, int64_t inputs,
                              bool need_forward, bool need_backward)
    : table(kernel_table), O(outputs), I(inputs) {
  const Kernels<T>& k = kernels_of<T>(table);
  if (need_forward) forward = Buffer<T>(round_up(O, k.panel) * head.words(I));
  if (need_backward) backward = Buffer<T>(round_up(I, k.panel) * head.words(O));
  if (from_bias != nullptr) {
    bias = Buffer<T>(round_up(O, k.panel));
    std::copy(from_bias, from_bias + O, bias.data());
    std::fill(bias.data() + O, bias.data() + bias.size(), T(0));
  }
  const double work = 4.0 * static_cast<double>(forward.size() + backward.size());
  run_team(team_size(work, 0, std::max(O, I)), [&](const Team& team) {
    if (need_forward) head.pack_linear(weight, O, I, forward.data(), team);
    if (need_backward) head.pack_linear_t(weight, O, I, backward.data(), team);
  });
}

template <class T>
PackedLinear<T> pack_linear(const ArrayView& weight, const ArrayView& bias) {
  const int64_t O = axis(weight, 0), I = axis(weight, 1);
  const T* w = contiguous<const T>({"linear", "weight", "(O, I)", {O, I}}, weight, Access::kRead);
  const T* b = contiguous<const T>({"linear", "bias", "(O,)", {O}}, bias, Access::kRead);
  return PackedLinear<T>(kernels(), find_head<T>("linear"), w, b, O, I, true, false);
}

template <class T>
void run_packed_linear(const PackedLinear<T>& packed, const ArrayView& x, const ArrayView& y) {
  const int64_t N = axis(x, 0), O = packed.O, I = packed.I;
  LinearArgs<T> args{N, I, O, nullptr, packed.forward.data(), packed.bias.data(), nullptr};
  args.x = contiguous<const T>({"linear", "x", "(N, I)", {N, I}}, x, Access::kRead);
  args.y = contiguous<T>({"linear", "y", "(N, O)", {N, O}}, y, Access::kWrite);
  if (N == 0 || O == 0) return;
  const Kernels<T>& k = kernels_of<T>(packed.table);
  run_team(team_size(product_flops(N, I, O), 0, std::max(N, O / k.panel)),
           [&](const Team& team) { k.linear(args, team); });
}

template <class T>
void run_linear(const ArrayView& x, const ArrayView& weight, const ArrayView& bias,
                const ArrayView& y) {
  run_packed_linear(pack_linear<T>(weight, bias), x, y);
}

template <class T>
void run_linear_backward(const ArrayView& x, const ArrayView& weight, const ArrayView& dy,
                         const ArrayView& dx, const ArrayView& dweight, const ArrayView& dbias) {
  const char* name = "linear_backward";
  const int64_t N = axis(x, 0), O = axis(weight, 0), I = axis(weight, 1);
  LinearBackwardArgs<T> args{};
  args.N = N, args.I = I, args.O = O;
  args.x = contiguous<const T>({name, "x", "(N, I)", {N, I}}, x, Access::kRead);
  args.dy = contiguous<const T>({name, "dy", "(N, O)", {N, O}}, dy, Access::kRead);
  const T* w = contiguous<const T>({name, "weight", "(O, I)", {O, I}}, weight, Access::kRead);
  args.dx = contiguous<T>({name, "dx", "(N, I)", {N, I}}, dx, Access::kWrite);
  args.dweight = contiguous<T>({name, "dweight", "(O, I)", {O, I}}, dweight, Access::kWrite);
  args.dbias = contiguous<T>({name, "dbias", "(O,)", {O}}, dbias, Access::kWrite);
  if (N == 0 || O == 0) {
    if (args.dx != nullptr) std::fill(args.dx, args.dx + N * I, T(0));
    return;
  }
  const Kernels<T>& k = kernels_of<T>(kernels());
  const PackedLinear<T> packed(kernels(), find_head<T>(name), w, nullptr, O, I, false,
                               args.dx != nullptr);
  args.packed_t = packed.backward.data();
  const int size = team_size(2 * product_flops(N, I, O), 0, std::max(N, O));
  Buffer<T> outer(size * k.outer_scratch);
  args.outer = outer.data();
  run_team(size, [&](const Team& team) { k.linear_backward(args, team); });
}

template <class T>
void run_cross_entropy(const ArrayView& x, const ArrayView& weight, const ArrayView& bias,
                       const ArrayView& targets, const ArrayView& losses, double scale,
                       double smoothing, const CrossEntropyGradients& gradients,
                       const std::string& precision) {
  const char* name = "linear_cross_entropy";
  const HeadKernels<T>& head = find_head<T>(name, find_precision<T>(precision));
  const int64_t N = axis(x, 0), V = axis(weight, 0), I = axis(weight, 1);
  if (V < 1)
    fail_value("[linear_cross_entropy] expected weight of shape (V, H) with V >= 1, got ",
               shape_text(weight));
  const bool backward = gradients.dx.present;
  if (gradients.dweight.present != backward)
    fail_value("[linear_cross_entropy] expected both of dx and dweight or neither, got one");
  CrossEntropyArgs<T> args{};
  args.N = N, args.I = I, args.V = V;
  args.x = contiguous<const T>({name, "x", "(N, H)", {N, I}}, x, Access::kRead);
  const T* w = contiguous<const T>({name, "weight", "(V, H)", {V, I}}, weight, Access::kRead);
  const T* b = contiguous<const T>({name, "bias", "(V,)", {V}}, bias, Access::kRead);
  args.targets = checked_integers(name, "targets", targets, N, V - 1, true);
  if (!(smoothing >= 0.0 && smoothing < 1.0))
    fail_value("[linear_cross_entropy] expected smoothing in [0, 1), got ", smoothing);
  args.scale = static_cast<T>(scale);
  args.smoothing = static_cast<T>(smoothing);
  args.losses = contiguous<T>({name, "losses", "(N,)", {N}}, losses, Access::kWrite);
  args.dx = contiguous<T>({name, "dx", "(N, H)", {N, I}}, gradients.dx, Access::kWrite);
  args.dweight =
      contiguous<T>({name, "dweight", "(V, H)", {V, I}}, gradients.dweight, Access::kWrite);
  args.dbias = contiguous<T>({name, "dbias", "(V,)", {V}}, gradients.dbias, Access::kWrite);
  if (N == 0) return;

  const Kernels<T>& k = kernels_of<T>(kernels());
  const PackedLinear<T> packed(kernels(), head, w, b, V, I, true, backward);
  args.packed = packed.forward.data();
  args.packed_t = backward ? packed.backward.data() : nullptr;
  args.bias = packed.bias.data();
  // A block of about two million logits, and enough rows for the products to run at full speed: the
  // weights and their gradients pass by once a block.
  args.block = std::clamp<int64_t>((int64_t{1} << 21) / V, 64, 256);
  const int size = team_size((backward ? 3 : 1) * product_flops(N, I, V), N / args.block + 1,
                             std::min(N, args.block) / 4);
  const int64_t stride = padded_stride<T>(V), rows = std::min(args.block, N);
  Buffer<T> logits(2 * rows * stride), outer(size * k.outer_scratch);
  args.logits[0] = {logits.data(), stride};
  args.logits[1] = {logits.data() + rows * stride, stride};
  args.outer = outer.data();
  const int64_t own = whole_operands((rows + size - 1) / size);
  args.operand_size = own * std::max(head.row_words(I), backward ? head.row_words(V) : 0);
  Buffer<T> operands(size * args.operand_size);
  args.operands = operands.data();
  run_team(size, [&](const Team& team) { head.cross_entropy(args, team); });
}

template <class T>
void run_embedding(const ArrayView& indices, const ArrayView& weight, const ArrayView& out) {
  const int64_t N = axis(indices, 0), V = axis(weight, 0), E = axis(weight, 1);
  const T* w =
      contiguous<const T>({"embedding", "weight", "(V, E)", {V, E}}, weight, Access::kRead);
  T* to = contiguous<T>({"embedding", "out", "(N, E)", {N, E}}, out, Access::kWrite);
  const int64_t* index = checked_integers("embedding", "indices", indices, N, V - 1);
  for (int64_t n = 0; n < N; ++n)
    std::memcpy(to + n * E, w + index[n] * E, static_cast<size_t>(E) * sizeof(T));
}

template <class T>
void run_embedding_backward(const ArrayView& indices, const ArrayView& dy,
                            const ArrayView& dweight) {
  const char* name = "embedding_backward";
  const int64_t N = axis(indices, 0), V = axis(dweight, 0), E = axis(dweight, 1);
  const T* from = contiguous<const T>({name, "dy", "(N, E)", {N, E}}, dy, Access::kRead);
  T* to = contiguous<T>({name, "dweight", "(V, E)", {V, E}}, dweight, Access::kWrite);
  const int64_t* index = checked_integers(name, "indices", indices, N, V - 1);
  // In token order by one thread: rows repeat, and the sum of each must have one order.
  for (int64_t n = 0; n < N; ++n)
    for (int64_t e = 0; e < E; ++e) to[index[n] * E + e] += from[n * E + e];
}

template <class T>
void run_dropout(const ArrayView& x, const ArrayView& out, double p, uint64_t seed,
                 uint64_t offset) {
  const int64_t N = axis(x, 0);
  const T* from = contiguous<const T>({"dropout", "x", "(N,)", {N}}, x, Access::kRead);
  T* to = contiguous<T>({"dropout", "out", "(N,)", {N}}, out, Access::kWrite);
  if (!(p >= 0.0 && p < 1.0))
    fail_value("[dropout] expected p in [0, 1), got " + std::to_string(p));
  const T factor = static_cast<T>(1.0 / (1.0 - p));
  const uint64_t threshold = static_cast<uint64_t>(p * 4294967296.0);
  const auto fill = [&](int64_t begin, int64_t end) {
    uint64_t held = 0;
    PhiloxBlock block{};
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t index = offset + static_cast<uint64_t>(i);
      if (i == begin || index / 4 != held) block = philox(seed, held = index / 4);
      to[i] = block.word[index % 4] >= threshold ? from[i] * factor : T(0);
    }
  };
  run_team(team_size(20.0 * static_cast<double>(N), 0, N / 1024), [&](const Team& team) {
    fill(N * team.rank / team.size, N * (team.rank + 1) / team.size);
  });
}

namespace {

// One draw. `order` is scratch for the candidate indices, `weight` for their probabilities.
template <class T>
int64_t draw(const T* logits, int64_t V, double u, const SampleOptions& options,
             std::vector<int64_t>& order, std::vector<double>& weight) {
  const auto better = [logits](int64_t a, int64_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  for (int64_t v = 0; v < V; ++v)
    if (std::isnan(logits[v])) fail_value("[sample] expected logits without NaN, got NaN");
  order.resize(static_cast<size_t>(V));
  std::iota(order.begin(), order.end(), int64_t{0});
  const int64_t best = *std::min_element(order.begin(), order.end(), better);
  if (options.temperature == 0.0 || options.top_k == 1) return best;
  const double top = logits[best];
  if (!std::isfinite(top)) fail_value("[sample] expected a finite largest logit, got ", top);

  // Ties are broken by index, so top-k and top-p keep the same candidates on every machine.
  if (options.top_k > 0 && options.top_k < V) {
    std::nth_element(order.begin(), order.begin() + (options.top_k - 1), order.end(), better);
    order.resize(static_cast<size_t>(options.top_k));
  }
  if (options.top_p < 1.0) std::sort(order.begin(), order.end(), better);
  weight.resize(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i)
    total += weight[i] = std::exp((logits[order[i]] - top) / options.temperature);
  if (options.top_p < 1.0) {
    const double enough = options.top_p * total;
    double mass = 0;
    size_t kept = 0;
    while (kept < order.size() && (kept == 0 || mass < enough)) mass += weight[kept++];
    order.resize(kept);
    total = mass;
  }
  const double goal = u * total;
  double mass = 0;
  for (size_t i = 0; i < order.size(); ++i)
    if ((mass += weight[i]) > goal) return order[i];
  return best;  // u so close to 1 that rounding passed the end
}

}  // namespace

template <class T>
void run_sample(const ArrayView& logits, const ArrayView& u, const SampleOptions& options,
                const ArrayView& out) {
  const int64_t B = axis(logits, 0), V = axis(logits, 1);
  if (V < 1)
    fail_value("[sample] expected logits of shape (B, V) with V >= 1, got ", shape_text(logits));
  if (!(options.temperature >= 0.0) || !std::isfinite(options.temperature))
    fail_value("[sample] expected temperature >= 0, got ", options.temperature);
  if (options.top_k < 0) fail_value("[sample] expected top_k >= 0, got ", options.top_k);
  if (!(options.top_p > 0.0 && options.top_p <= 1.0))
    fail_value("[sample] expected top_p in (0, 1], got ", options.top_p);
  const T* from =
      contiguous<const T>({"sample", "logits", "(B, V)", {B, V}}, logits, Access::kRead);
  const double* uniform = contiguous<const double>({"sample", "u", "(B,)", {B}}, u, Access::kRead);
  int64_t* to = contiguous<int64_t>({"sample", "out", "(B,)", {B}}, out, Access::kWrite);
  std::vector<int64_t> order;
  std::vector<double> weight;
  for (int64_t b = 0; b < B; ++b) {
    if (!(uniform[b] >= 0.0 && uniform[b] < 1.0))
      fail_value("[sample] expected u in [0, 1), got ", uniform[b]);
    to[b] = draw(from + b * V, V, uniform[b], options, order, weight);
  }
}

#define UNROLLED_INSTANTIATE(T)                                                                   \
  template PackedLinear<T> pack_linear<T>(const ArrayView&, const ArrayView&);                    \
  template void run_packed_linear<T>(const PackedLinear<T>&, const ArrayView&, const ArrayView&); \
  template void run_linear<T>(const ArrayView&, const ArrayView&, const ArrayView&,               \
                              const ArrayView&);                                                  \
  template void run_linear_backward<T>(const ArrayView&, const ArrayView&, const ArrayView&,      \
                                       const ArrayView&, const ArrayView&, const ArrayView&);     \
  template void run_cross_entropy<T>(const ArrayView&, const ArrayView&, const ArrayView&,        \
                                     const ArrayView&, const ArrayView&, double, double,          \
                                     const CrossEntropyGradients&, const std::string&);           \
  template void run_embedding<T>(const ArrayView&, const ArrayView&, const ArrayView&);           \
  template void run_embedding_backward<T>(const ArrayView&, const ArrayView&, const ArrayView&);  \
  template void run_dropout<T>(const ArrayView&, const ArrayView&, double, uint64_t, uint64_t);   \
  template void run_sample<T>(const ArrayView&, const ArrayView&, const SampleOptions&,           \
                              const ArrayView&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
