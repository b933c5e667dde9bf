#include "cuda/host/images.hpp"

#include "cuda/host/put.hpp"
#include "cuda/images.hpp"

namespace unrolled::cuda {
namespace {

const float* image(Arguments& given, const char* name, const WindowShape& s, Argument x) {
  return given.array<const float>(name, "(N, H, W, C)", {s.N, s.H, s.W, s.C}, x);
}
template <class T>
T* result(Arguments& given, const char* name, const WindowShape& s, int64_t O, Argument y) {
  return given.array<T>(name, "(N, H', W', O)", {s.N, s.rows, s.columns, O}, y);
}

// What both ways of a convolution are given. `places` has as many as the result.
template <class Args>
void fill(Args& args, Arguments& given, const char* name, const ConvArguments& of,
          const ArrayView& places) {
  const ArrayView& weight = view(of.weight);
  const int64_t O = axis(weight, 0), depth = axis(weight, 1), h = axis(weight, 2),
                w = axis(weight, 3);
  args.weight =
      given.array<const float>("weight", "(O, C / groups, h, w)", {O, depth, h, w}, of.weight);
  if (of.groups < 1 || O < 1 || O % of.groups != 0 || depth < 1 || h < 1 || w < 1)
    fail_value("[", name, "] expected weight of shape (O, C / groups, h, w), none of them 0, with ",
               "groups that divide O, got ", shape_text(weight), " and ", of.groups, " groups");
  args.shape = window_shape(name, view(of.x), places, h, w, of.windows);
  args.shape.C = depth * of.groups;  // what x has to have
  args.O = O, args.groups = of.groups, args.activation = of.activation;
  args.x = image(given, "x", args.shape, of.x);
}

struct Norm {
  int64_t rows, C;
  const float *x, *mean, *variance, *weight;
};
Norm norm_of(Arguments& given, const NormaliseArguments& of) {
  const auto channels = [&](const char* name, int64_t C, Argument argument) {
    return given.array<const float>(name, "(C,)", {C}, argument);
  };
  const int64_t rows = Arguments::count_rows(of.x), C = axis(view(of.mean), 0);
  return {rows,
          C,
          given.rows<const float>("x", "(..., C)", rows, C, of.x),
          channels("mean", C, of.mean),
          channels("variance", C, of.variance),
          channels("weight", C, of.weight)};
}

}  // namespace

int64_t conv_scratch(const ConvArguments& of, int64_t rows, int64_t columns, bool backward) {
  Arguments given("conv2d");
  ArrayView places;
  places.dimensions = 4;
  places.shape[1] = rows, places.shape[2] = columns;
  Conv args{};
  fill(args, given, "conv2d", of, places);
  return backward ? conv_backward_scratch(args.shape, args.O, args.groups, args.activation)
                  : conv_scratch(args.shape, args.O, args.groups);
}

void conv(const ConvArguments& of, Argument bias, Argument residual, Argument y, Argument scratch,
          uintptr_t stream) {
  Arguments given("conv2d");
  Conv args{};
  fill(args, given, "conv2d", of, view(y));
  args.bias = given.array<const float>("bias", "(O,)", {args.O}, bias);
  args.residual = result<const float>(given, "residual", args.shape, args.O, residual);
  args.y = result<float>(given, "y", args.shape, args.O, y);
  args.scratch = given.array<float>("scratch", "(scratch,)",
                                    {conv_scratch(args.shape, args.O, args.groups)}, scratch);
  put(given, stream, [&](Device& device) { conv(args, device); });
}

void conv_backward(const ConvArguments& of, Argument y, Argument dy, Argument dx, Argument dweight,
                   Argument dbias, Argument scratch, uintptr_t stream) {
  Arguments given("conv2d_backward");
  ConvBackward args{};
  fill(args, given, "conv2d_backward", of, view(y));
  const WindowShape& s = args.shape;
  const int64_t O = args.O;
  args.y = result<const float>(given, "y", s, O, y);
  args.dy = result<const float>(given, "dy", s, O, dy);
  args.dx = given.array<float>("dx", "(N, H, W, C)", {s.N, s.H, s.W, s.C}, dx);
  args.dweight = given.array<float>("dweight", "(O, C / groups, h, w)",
                                    {O, s.C / args.groups, s.h, s.w}, dweight);
  args.dbias = given.array<float>("dbias", "(O,)", {O}, dbias);
  args.scratch =
      given.array<float>("scratch", "(scratch,)",
                         {conv_backward_scratch(s, O, args.groups, args.activation)}, scratch);
  put(given, stream, [&](Device& device) { conv_backward(args, device); });
}

void max_pool(Argument x, Argument y, int64_t h, int64_t w, const WindowOptions& windows,
              uintptr_t stream) {
  Arguments given("max_pool");
  MaxPool args{};
  const WindowShape& s = args.shape = window_shape("max_pool", view(x), view(y), h, w, windows);
  args.x = image(given, "x", s, x);
  args.y = result<float>(given, "y", s, s.C, y);
  put(given, stream, [&](Device& device) { max_pool(args, device); });
}

void max_pool_backward(Argument x, Argument y, Argument dy, Argument dx, int64_t h, int64_t w,
                       const WindowOptions& windows, uintptr_t stream) {
  const char* name = "max_pool_backward";
  Arguments given(name);
  MaxPoolBackward args{};
  const WindowShape& s = args.shape = window_shape(name, view(x), view(y), h, w, windows);
  args.x = image(given, "x", s, x);
  args.y = result<const float>(given, "y", s, s.C, y);
  args.dy = result<const float>(given, "dy", s, s.C, dy);
  args.dx = given.array<float>("dx", "(N, H, W, C)", {s.N, s.H, s.W, s.C}, dx);
  put(given, stream, [&](Device& device) { max_pool_backward(args, device); });
}

void moments(Argument x, Argument mean, Argument variance, uintptr_t stream) {
  Arguments given("moments");
  Moments args{};
  args.rows = Arguments::count_rows(x), args.C = axis(view(mean), 0);
  args.x = given.rows<const float>("x", "(..., C)", args.rows, args.C, x);
  args.mean = given.array<float>("mean", "(C,)", {args.C}, mean);
  args.variance = given.array<float>("variance", "(C,)", {args.C}, variance);
  if (args.rows < 1) fail_value("[moments] expected at least one row, got ", shape_text(view(x)));
  put(given, stream, [&](Device& device) { moments(args, device); });
}

void normalise(const NormaliseArguments& of, Argument bias, Argument y, uintptr_t stream) {
  Arguments given("normalise");
  const Norm n = norm_of(given, of);
  Normalise args{n.rows,        n.C,      n.x,     n.mean,
                 n.variance,    n.weight, nullptr, static_cast<float>(of.epsilon),
                 of.activation, nullptr};
  args.bias = given.array<const float>("bias", "(C,)", {n.C}, bias);
  args.y = given.rows<float>("y", "(..., C)", n.rows, n.C, y);
  put(given, stream, [&](Device& device) { normalise(args, device); });
}

void normalise_backward(const NormaliseArguments& of, bool of_batch, Argument y, Argument dy,
                        Argument dweight, Argument dbias, Argument dx, Argument sums,
                        uintptr_t stream) {
  Arguments given("normalise_backward");
  const Norm n = norm_of(given, of);
  NormaliseBackward args{};
  args.rows = n.rows, args.C = n.C, args.x = n.x;
  args.mean = n.mean, args.variance = n.variance, args.weight = n.weight;
  args.epsilon = static_cast<float>(of.epsilon), args.activation = of.activation;
  args.of_batch = of_batch;
  args.y = given.rows<const float>("y", "(..., C)", n.rows, n.C, y);
  args.dy = given.rows<const float>("dy", "(..., C)", n.rows, n.C, dy);
  args.dweight = given.array<float>("dweight", "(C,)", {n.C}, dweight);
  args.dbias = given.array<float>("dbias", "(C,)", {n.C}, dbias);
  args.dx = given.rows<float>("dx", "(..., C)", n.rows, n.C, dx);
  args.sums = given.array<float>("sums", "(2*C,)", {2 * n.C}, sums);
  put(given, stream, [&](Device& device) { normalise_backward(args, device); });
}

}  // namespace unrolled::cuda
