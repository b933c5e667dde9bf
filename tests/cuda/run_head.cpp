// Runs one function of head.hpp or optimizer.hpp in the emulation.
//
// Input: which one, a seed for the order of threads, its sizes, then its arrays in the order of its
// function here. What is added to begins with ones, what has to be written first with NaN.
#include "cuda/head.hpp"
#include "cuda/optimizer.hpp"
#include "cuda/program.hpp"

namespace unrolled {
namespace {

void run_linear(Input& in, PlainDevice& device, std::FILE* out) {
  const int64_t N = in.number(), I = in.number(), O = in.number();
  auto x = in.array<float>(N * I), weight = in.array<float>(O * I), bias = in.optional<float>(O);
  auto dy = in.array<float>(N * O), y = unset(N * O), dx = unset(N * I);
  auto dweight = unset(O * I, 1.0f), dbias = unset(O, 1.0f);
  cuda::linear({N, I, O, x.data(), weight.data(), data(bias), y.data()}, device);
  cuda::linear_backward(
      {N, I, O, x.data(), weight.data(), dy.data(), dx.data(), dweight.data(), dbias.data()},
      device);
  for (const auto* values : {&y, &dx, &dweight, &dbias}) write(out, *values);
}

void run_cross_entropy(Input& in, PlainDevice& device, std::FILE* out) {
  cuda::CrossEntropy args{};
  args.precision = static_cast<Precision>(in.number());
  const int64_t N = args.N = in.number(), I = args.I = in.number(), V = args.V = in.number();
  const bool gradients = in.number() != 0;
  const auto options = in.array<float>(2);
  auto x = in.array<float>(N * I), weight = in.array<float>(V * I), bias = in.optional<float>(V);
  auto targets = in.array<int64_t>(N);
  auto losses = unset(N), dx = unset(gradients ? N * I : 0);
  auto dweight = unset(gradients ? V * I : 0, 1.0f), dbias = unset(gradients ? V : 0, 1.0f);
  args.scale = options[0], args.smoothing = options[1];
  args.x = x.data(), args.weight = weight.data(), args.bias = data(bias);
  args.targets = targets.data(), args.losses = losses.data();
  args.dx = data(dx), args.dweight = data(dweight), args.dbias = data(dbias);
  auto scratch = unset(cuda::cross_entropy_scratch(args));
  args.scratch = scratch.data();
  cuda::cross_entropy(args, device);
  for (const auto* values : {&losses, &dx, &dweight, &dbias}) write(out, *values);
}

void run_table(Input& in, PlainDevice& device, std::FILE* out) {
  const int64_t N = in.number(), V = in.number(), E = in.number(), rows = in.number();
  auto table = in.array<float>(V * E), dy = in.array<float>(N * E);
  auto indices = in.array<int64_t>(N), places = in.array<int64_t>(rows);
  auto begin = in.array<int64_t>(rows + 1), order = in.array<int64_t>(N);
  auto y = unset(N * E);
  cuda::gather({N, E, indices.data(), table.data(), y.data()}, device);
  cuda::scatter_add({rows, E, places.data(), begin.data(), order.data(), dy.data(), table.data()},
                    device);
  write(out, y);
  write(out, table);
}

void run_dropout(Input& in, PlainDevice& device, std::FILE* out) {
  const int64_t size = in.number();
  const auto seed = static_cast<uint64_t>(in.number()), offset = static_cast<uint64_t>(in.number());
  auto x = in.array<float>(size), y = unset(size);
  cuda::dropout({size, x.data(), y.data(), 2.0f, seed, offset, uint64_t{1} << 31}, device);
  write(out, y);
}

void run_optimizers(Input& in, PlainDevice& device, std::FILE* out) {
  const int64_t size = in.number();
  auto grads = in.array<float>(size);
  const GradientArgs<float> gradient{grads.data(), 0.5f, 0.6f};
  std::vector<std::vector<float>> kept;
  const auto next = [&] { return kept.emplace_back(in.array<float>(size)).data(); };
  kept.reserve(10);
  float *first = next(), *m = next(), *v = next();
  cuda::adam({size, first, gradient, m, v, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f, 0.1f, 0.01f, 0.19f,
              0.0199f, true},
             device);
  float *second = next(), *velocity = next();
  cuda::sgd({size, second, gradient, velocity, 0.01f, 0.9f, 0.1f, true}, device);
  float *third = next(), *square = next(), *mean = next(), *momentum = next();
  cuda::rmsprop(
      {size, third, gradient, square, mean, momentum, 0.01f, 0.9f, 0.1f, 1e-6f, 0.5f, 0.1f},
      device);
  float* average = next();
  cuda::average({size, first, average, 0.25f}, device);
  std::vector<double> sums(
      static_cast<size_t>((size + cuda::kSquareBlock - 1) / cuda::kSquareBlock));
  cuda::square_sums({size, grads.data(), sums.data()}, device);
  for (const auto& values : kept) write(out, values);
  std::vector<float> norm(1);
  for (const double sum : sums) norm[0] += static_cast<float>(sum);
  write(out, norm);
}

}  // namespace

void run_head(Input& in, std::FILE* out) {
  constexpr void (*kRuns[])(Input&, PlainDevice&, std::FILE*) = {
      run_linear, run_cross_entropy, run_table, run_dropout, run_optimizers};
  run_one_of(kRuns, in, out);
}

}  // namespace unrolled
