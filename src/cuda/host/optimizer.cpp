#include "cuda/host/optimizer.hpp"

#include "api/optimizer_args.hpp"
#include "cuda/host/put.hpp"
#include "cuda/optimizer.hpp"

namespace unrolled::cuda {

void adam_step(Argument params, Argument grads, Argument m, Argument v, const AdamOptions& options,
               uintptr_t stream) {
  Arguments given("adam_step");
  const auto args = adam_args<float>(view(params), view(grads), view(m), view(v), options);
  given.note("params", params), given.note("grads", grads), given.note("m", m), given.note("v", v);
  put(given, stream, [&](Device& device) { adam(args, device); });
}

void sgd_step(Argument params, Argument grads, Argument velocity, const SgdOptions& options,
              uintptr_t stream) {
  Arguments given("sgd_step");
  const auto args = sgd_args<float>(view(params), view(grads), view(velocity), options);
  given.note("params", params), given.note("grads", grads), given.note("velocity", velocity);
  put(given, stream, [&](Device& device) { sgd(args, device); });
}

void rmsprop_step(Argument params, Argument grads, Argument square, Argument mean,
                  Argument velocity, const RmspropOptions& options, uintptr_t stream) {
  Arguments given("rmsprop_step");
  const auto args = rmsprop_args<float>(view(params), view(grads), view(square), view(mean),
                                        view(velocity), options);
  given.note("params", params), given.note("grads", grads), given.note("square", square);
  given.note("mean", mean), given.note("velocity", velocity);
  put(given, stream, [&](Device& device) { rmsprop(args, device); });
}

void average_step(Argument params, Argument average, double weight, uintptr_t stream) {
  Arguments given("average_step");
  AverageArgs args{axis(view(params), 0), nullptr, nullptr, static_cast<float>(weight)};
  args.values = given.array<const float>("params", "(P,)", {args.size}, params);
  args.average = given.array<float>("average", "(P,)", {args.size}, average);
  put(given, stream, [&](Device& device) { cuda::average(args, device); });
}

int64_t square_sum_count(Argument flat) {
  return (axis(view(flat), 0) + kSquareBlock - 1) / kSquareBlock;
}

void square_sums(Argument flat, Argument sums, uintptr_t stream) {
  Arguments given("global_norm");
  SquareSums args{axis(view(flat), 0), nullptr, nullptr};
  args.values = given.array<const float>("flat", "(P,)", {args.size}, flat);
  args.sums = given.array<double>("sums", "(parts,)", {square_sum_count(flat)}, sums);
  put(given, stream, [&](Device& device) { square_sums(args, device); });
}

}  // namespace unrolled::cuda
