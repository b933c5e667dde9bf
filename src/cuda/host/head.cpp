#include "cuda/host/head.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "cuda/head.hpp"
#include "cuda/host/put.hpp"
#include "cuda/host/upload.hpp"

namespace unrolled::cuda {
namespace {

Precision precision_of(const std::string& name) {
  if (name == "full") return Precision::kFull;
  if (name == "bf16") return Precision::kBf16;
  fail_value("[linear_cross_entropy] expected precision full or bf16, got ", name);
}

}  // namespace

void linear(Argument x, Argument weight, Argument bias, Argument y, uintptr_t stream) {
  Arguments given("linear");
  const int64_t N = Arguments::count_rows(x);
  const int64_t O = axis(view(weight), 0), I = axis(view(weight), 1);
  LinearForward args{N, I, O, nullptr, nullptr, nullptr, nullptr};
  args.x = given.rows<const float>("x", "(..., I)", N, I, x);
  args.weight = given.array<const float>("weight", "(O, I)", {O, I}, weight);
  args.bias = given.array<const float>("bias", "(O,)", {O}, bias);
  args.y = given.rows<float>("y", "(..., O)", N, O, y);
  put(given, stream, [&](Device& device) { linear(args, device); });
}

void linear_backward(Argument x, Argument weight, Argument dy, Argument dx, Argument dweight,
                     Argument dbias, uintptr_t stream) {
  Arguments given("linear_backward");
  const int64_t N = Arguments::count_rows(x);
  const int64_t O = axis(view(weight), 0), I = axis(view(weight), 1);
  LinearBackward args{};
  args.N = N, args.I = I, args.O = O;
  args.x = given.rows<const float>("x", "(..., I)", N, I, x);
  args.weight = given.array<const float>("weight", "(O, I)", {O, I}, weight);
  args.dy = given.rows<const float>("dy", "(..., O)", N, O, dy);
  args.dx = given.rows<float>("dx", "(..., I)", N, I, dx);
  args.dweight = given.array<float>("dweight", "(O, I)", {O, I}, dweight);
  args.dbias = given.array<float>("dbias", "(O,)", {O}, dbias);
  put(given, stream, [&](Device& device) { linear_backward(args, device); });
}

int64_t cross_entropy_scratch(int64_t N, int64_t I, int64_t V, bool gradients,
                              const std::string& precision) {
  CrossEntropy args{};
  args.precision = precision_of(precision);
  args.N = N, args.I = I, args.V = V;
  float wanted;
  args.dx = gradients ? &wanted : nullptr;
  return cross_entropy_scratch(args);
}

void cross_entropy(const CrossEntropyArguments& arrays, uintptr_t stream) {
  const char* name = "linear_cross_entropy";
  Arguments given(name);
  const int64_t N = axis(view(arrays.x), 0);
  const int64_t V = axis(view(arrays.weight), 0), I = axis(view(arrays.weight), 1);
  if (V < 1)
    fail_value("[linear_cross_entropy] expected weight of shape (V, H) with V >= 1, got ",
               shape_text(view(arrays.weight)));
  if ((arrays.dx == nullptr) != (arrays.dweight == nullptr))
    fail_value("[linear_cross_entropy] expected both of dx and dweight or neither, got one");
  if (!(arrays.smoothing >= 0.0 && arrays.smoothing < 1.0))
    fail_value("[linear_cross_entropy] expected smoothing in [0, 1), got ", arrays.smoothing);
  CrossEntropy args{};
  args.precision = precision_of(arrays.precision);
  args.N = N, args.I = I, args.V = V;
  args.x = given.array<const float>("x", "(N, H)", {N, I}, arrays.x);
  args.weight = given.array<const float>("weight", "(V, H)", {V, I}, arrays.weight);
  args.bias = given.array<const float>("bias", "(V,)", {V}, arrays.bias);
  args.scale = static_cast<float>(arrays.scale);
  args.smoothing = static_cast<float>(arrays.smoothing);
  args.losses = given.array<float>("losses", "(N,)", {N}, arrays.losses);
  args.dx = given.array<float>("dx", "(N, H)", {N, I}, arrays.dx);
  args.dweight = given.array<float>("dweight", "(V, H)", {V, I}, arrays.dweight);
  args.dbias = given.array<float>("dbias", "(V,)", {V}, arrays.dbias);
  args.scratch =
      given.array<float>("scratch", "(scratch,)", {cross_entropy_scratch(args)}, arrays.scratch);
  const int64_t* targets = checked_integers(name, "targets", arrays.targets, N, V - 1, true);
  args.targets = upload(name, targets, N, arrays.memory, given, stream);
  put(given, stream, [&](Device& device) { cross_entropy(args, device); });
}

void embedding(const ArrayView& indices, Argument weight, Argument out, Argument memory,
               uintptr_t stream) {
  const char* name = "embedding";
  Arguments given(name);
  const int64_t N = axis(indices, 0), V = axis(view(weight), 0), E = axis(view(weight), 1);
  Gather args{N, E, nullptr, nullptr, nullptr};
  args.table = given.array<const float>("weight", "(V, E)", {V, E}, weight);
  args.out = given.array<float>("out", "(N, E)", {N, E}, out);
  const int64_t* index = checked_integers(name, "indices", indices, N, V - 1);
  args.indices = upload(name, index, N, memory, given, stream);
  put(given, stream, [&](Device& device) { gather(args, device); });
}

void embedding_backward(const ArrayView& indices, Argument dy, Argument dweight, Argument memory,
                        uintptr_t stream) {
  const char* name = "embedding_backward";
  Arguments given(name);
  const int64_t N = axis(indices, 0), V = axis(view(dweight), 0), E = axis(view(dweight), 1);
  ScatterAdd args{};
  args.E = E;
  args.dy = given.rows<const float>("dy", "(..., E)", N, E, dy);
  args.table = given.array<float>("dweight", "(V, E)", {V, E}, dweight);
  const int64_t* index = checked_integers(name, "indices", indices, N, V - 1);
  std::vector<int64_t> order(static_cast<size_t>(N)), places, begin;
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return index[a] < index[b]; });
  for (int64_t i = 0; i < N; ++i) {
    const int64_t place = index[order[static_cast<size_t>(i)]];
    if (!places.empty() && places.back() == place) continue;
    places.push_back(place);
    begin.push_back(i);
  }
  begin.push_back(N);
  args.rows = std::ssize(places);
  std::vector<int64_t> image = places;
  image.insert(image.end(), begin.begin(), begin.end());
  image.insert(image.end(), order.begin(), order.end());
  image.resize(static_cast<size_t>(3 * N + 1));
  args.places = upload(name, image.data(), 3 * N + 1, memory, given, stream);
  args.begin = args.places + args.rows;
  args.order = args.begin + args.rows + 1;
  put(given, stream, [&](Device& device) { scatter_add(args, device); });
}

void dropout(Argument x, Argument out, double p, uint64_t seed, uint64_t offset, uintptr_t stream) {
  if (!(p >= 0.0 && p < 1.0)) fail_value("[dropout] expected p in [0, 1), got ", p);
  Arguments given("dropout");
  const int64_t rows = Arguments::count_rows(x);
  const int64_t width = view(x).dimensions == 0 ? 1 : view(x).shape[view(x).dimensions - 1];
  Dropout args{};
  args.size = rows * width;
  args.x = given.rows<const float>("x", "(...)", rows, width, x);
  args.out = given.rows<float>("out", "(...)", rows, width, out);
  args.factor = static_cast<float>(1.0 / (1.0 - p));
  args.seed = seed, args.offset = offset;
  args.threshold = static_cast<uint64_t>(p * 4294967296.0);
  put(given, stream, [&](Device& device) { dropout(args, device); });
}

}  // namespace unrolled::cuda
