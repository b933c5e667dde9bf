// Runs CTC, attention or a function over images in the emulation; see run_head.cpp.
#include "cuda/attention.hpp"
#include "cuda/ctc.hpp"
#include "cuda/images.hpp"
#include "cuda/program.hpp"

namespace unrolled {
namespace {

void run_ctc(Input& in, PlainDevice& device, std::FILE* out) {
  cuda::Ctc args{};
  const int64_t T = args.T = in.number(), B = args.B = in.number(), V = args.V = in.number();
  const int64_t S = args.S = in.number();
  auto logits = in.array<float>(T * B * V);
  auto frames = in.array<int64_t>(B), counts = in.array<int64_t>(B);
  auto labels = in.array<int64_t>(B * S), next = in.array<int64_t>(B * S);
  auto first = in.array<int64_t>(B * S);
  auto losses = unset(B), dlogits = unset(T * B * V);
  args.logits = {logits.data(), B * V, V};
  args.frames = frames.data(), args.counts = counts.data();
  args.labels = labels.data(), args.next = next.data(), args.first = first.data();
  args.losses = losses.data(), args.dlogits = dlogits.data();
  auto scratch = unset(cuda::ctc_scratch(args));
  args.scratch = scratch.data();
  cuda::ctc(args, device);
  write(out, losses);
  write(out, dlogits);
}

void run_attention(Input& in, PlainDevice& device, std::FILE* out) {
  const int64_t T = in.number(), B = in.number(), S = in.number(), K = in.number(), M = in.number();
  auto queries = in.array<float>(T * B * K), keys = in.array<float>(S * B * K);
  auto values = in.array<float>(S * B * M), dcontexts = in.array<float>(T * B * M);
  auto vector = in.optional<float>(K);
  auto lengths = in.array<int64_t>(B), places = in.array<int64_t>(B),
       sources = in.array<int64_t>(B);
  auto contexts = unset(T * B * M), weights = unset(T * B * S), dscores = unset(T * B * S);
  auto dqueries = unset(T * B * K), dkeys = unset(S * B * K), dvalues = unset(S * B * M);
  auto dvector = unset(K, 1.0f);
  const cuda::Memory memory{
      S, B, K, M, {keys.data(), B * K, K}, {values.data(), B * M, M}, data(vector), places.data()};
  const Sequence<const float> query{queries.data(), B * K, K};
  cuda::attend(
      {memory, T, B, query, lengths.data(), sources.data(), contexts.data(), weights.data()},
      device);
  auto scratch = unset(cuda::attention_scratch(memory, true));
  cuda::attention_backward({memory,
                            T,
                            query,
                            {weights.data(), B * S, S},
                            {dcontexts.data(), B * M, M},
                            lengths.data(),
                            dscores.data(),
                            false,
                            dqueries.data(),
                            dkeys.data(),
                            dvalues.data(),
                            dvector.data(),
                            scratch.data()},
                           device);
  for (const auto* each : {&contexts, &weights, &dqueries, &dkeys, &dvalues, &dvector})
    write(out, *each);
}

WindowShape read_shape(Input& in) {
  WindowShape s{};
  for (int64_t* each : {&s.N, &s.H, &s.W, &s.C, &s.h, &s.w, &s.down, &s.right, &s.top, &s.left,
                        &s.rows, &s.columns})
    *each = in.number();
  return s;
}

void run_conv(Input& in, PlainDevice& device, std::FILE* out) {
  const WindowShape s = read_shape(in);
  const int64_t O = in.number(), groups = in.number();
  const auto activation = static_cast<Activation>(in.number());
  const int64_t pixels = s.N * s.H * s.W * s.C, results = s.N * s.rows * s.columns * O;
  const int64_t weights = O * (s.C / groups) * s.h * s.w;
  auto x = in.array<float>(pixels), weight = in.array<float>(weights), bias = in.array<float>(O);
  auto residual = in.array<float>(results), dy = in.array<float>(results);
  auto y = unset(results), dx = unset(pixels), dweight = unset(weights, 1.0f),
       dbias = unset(O, 1.0f);
  auto scratch = unset(cuda::conv_scratch(s, O, groups));
  cuda::conv({s, O, groups, x.data(), weight.data(), bias.data(), residual.data(), y.data(),
              activation, scratch.data()},
             device);
  scratch = unset(cuda::conv_backward_scratch(s, O, groups, activation));
  cuda::conv_backward({s, O, groups, x.data(), weight.data(), y.data(), dy.data(), activation,
                       dx.data(), dweight.data(), dbias.data(), scratch.data()},
                      device);
  for (const auto* each : {&y, &dx, &dweight, &dbias}) write(out, *each);
}

void run_pool(Input& in, PlainDevice& device, std::FILE* out) {
  const WindowShape s = read_shape(in);
  const int64_t results = s.N * s.rows * s.columns * s.C;
  auto x = in.array<float>(s.N * s.H * s.W * s.C), dy = in.array<float>(results);
  auto y = unset(results), dx = unset(std::ssize(x));
  cuda::max_pool({s, x.data(), y.data()}, device);
  cuda::max_pool_backward({s, x.data(), y.data(), dy.data(), dx.data()}, device);
  write(out, y);
  write(out, dx);
}

void run_norm(Input& in, PlainDevice& device, std::FILE* out) {
  const int64_t rows = in.number(), C = in.number();
  auto x = in.array<float>(rows * C), dy = in.array<float>(rows * C);
  auto weight = in.array<float>(C), bias = in.array<float>(C);
  auto mean = unset(C), variance = unset(C), y = unset(rows * C), dx = unset(rows * C);
  auto dweight = unset(C, 1.0f), dbias = unset(C, 1.0f), sums = unset(2 * C);
  cuda::moments({rows, C, x.data(), mean.data(), variance.data()}, device);
  cuda::normalise({rows, C, x.data(), mean.data(), variance.data(), weight.data(), bias.data(),
                   1e-3f, Activation::kRelu, y.data()},
                  device);
  cuda::normalise_backward(
      {rows, C, x.data(), mean.data(), variance.data(), weight.data(), y.data(), dy.data(), 1e-3f,
       Activation::kRelu, true, dweight.data(), dbias.data(), dx.data(), sums.data()},
      device);
  for (const auto* each : {&y, &dx, &dweight, &dbias}) write(out, *each);
}

}  // namespace

void run_models(Input& in, std::FILE* out) {
  constexpr void (*kRuns[])(Input&, PlainDevice&, std::FILE*) = {run_ctc, run_attention, run_conv,
                                                                 run_pool, run_norm};
  run_one_of(kRuns, in, out);
}

}  // namespace unrolled
