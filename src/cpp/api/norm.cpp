#include "api/norm.hpp"

#include <algorithm>

#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// Parts of rows that are summed apart; their number does not depend on the threads.
int64_t parts_of(int64_t rows) { return std::clamp<int64_t>(rows / 512, 1, 32); }

double pass_work(int64_t rows, int64_t C) {
  return 8.0 * static_cast<double>(rows) * static_cast<double>(C);
}

template <class T>
const T* channels(const char* function, const char* name, const ArrayView& view, int64_t C) {
  return contiguous<const T>({function, name, "(C,)", {C}}, view, Access::kRead);
}

}  // namespace

template <class T>
void run_moments(const ArrayView& x, const ArrayView& mean, const ArrayView& variance) {
  const char* name = "moments";
  MomentsArgs<T> args{};
  args.rows = axis(x, 0), args.C = axis(x, 1), args.parts = parts_of(args.rows);
  args.x = contiguous<const T>({name, "x", "(N, C)", {args.rows, args.C}}, x, Access::kRead);
  args.mean = contiguous<T>({name, "mean", "(C,)", {args.C}}, mean, Access::kWrite);
  args.variance = contiguous<T>({name, "variance", "(C,)", {args.C}}, variance, Access::kWrite);
  if (args.rows < 1) fail_value("[moments] expected at least one row, got ", shape_text(x));
  Buffer<double> sums(args.parts * 2 * args.C);
  args.sums = sums.data();
  const ImageKernels<T>& k = *kernels_of<T>(kernels()).images;
  run_team(team_size(pass_work(args.rows, args.C), 1, args.parts),
           [&](const Team& team) { k.moments(args, team); });
}

template <class T>
void run_normalise(const ArrayView& x, const ArrayView& mean, const ArrayView& scale,
                   const ArrayView& bias, const ArrayView& y, Activation activation) {
  const char* name = "normalise";
  NormaliseArgs<T> args{};
  args.rows = axis(x, 0), args.C = axis(x, 1), args.activation = activation;
  args.x = contiguous<const T>({name, "x", "(N, C)", {args.rows, args.C}}, x, Access::kRead);
  args.mean = channels<T>(name, "mean", mean, args.C);
  args.scale = channels<T>(name, "scale", scale, args.C);
  args.bias = channels<T>(name, "bias", bias, args.C);
  args.y = contiguous<T>({name, "y", "(N, C)", {args.rows, args.C}}, y, Access::kWrite);
  const ImageKernels<T>& k = *kernels_of<T>(kernels()).images;
  run_team(team_size(pass_work(args.rows, args.C), 0, args.rows),
           [&](const Team& team) { k.normalise(args, team); });
}

template <class T>
void run_normalise_backward(const ArrayView& x, const ArrayView& mean, const ArrayView& scale,
                            const ArrayView& inverse, const ArrayView& y, const ArrayView& dy,
                            const ArrayView& dweight, const ArrayView& dbias, const ArrayView& dx,
                            Activation activation, bool of_batch) {
  const char* name = "normalise_backward";
  NormaliseBackwardArgs<T> args{};
  const int64_t N = args.rows = axis(x, 0), C = args.C = axis(x, 1);
  args.parts = parts_of(N), args.of_batch = of_batch;
  args.x = contiguous<const T>({name, "x", "(N, C)", {N, C}}, x, Access::kRead);
  args.mean = channels<T>(name, "mean", mean, C);
  args.scale = channels<T>(name, "scale", scale, C);
  args.inverse = channels<T>(name, "inverse", inverse, C);
  const T* of = contiguous<const T>({name, "y", "(N, C)", {N, C}}, y, Access::kRead);
  args.dy = {contiguous<const T>({name, "dy", "(N, C)", {N, C}}, dy, Access::kRead),
             activation == Activation::kNone ? nullptr : of, activation};
  args.dweight = contiguous<T>({name, "dweight", "(C,)", {C}}, dweight, Access::kWrite);
  args.dbias = contiguous<T>({name, "dbias", "(C,)", {C}}, dbias, Access::kWrite);
  args.dx = contiguous<T>({name, "dx", "(N, C)", {N, C}}, dx, Access::kWrite);
  if (N == 0) return;
  Buffer<double> sums(args.parts * 2 * C);
  Buffer<T> means(2 * C);
  args.sums = sums.data(), args.means = means.data();
  const ImageKernels<T>& k = *kernels_of<T>(kernels()).images;
  run_team(team_size(2 * pass_work(N, C), 2, args.parts),
           [&](const Team& team) { k.normalise_backward(args, team); });
}

#define UNROLLED_INSTANTIATE(T)                                                                 \
  template void run_moments<T>(const ArrayView&, const ArrayView&, const ArrayView&);           \
  template void run_normalise<T>(const ArrayView&, const ArrayView&, const ArrayView&,          \
                                 const ArrayView&, const ArrayView&, Activation);               \
  template void run_normalise_backward<T>(                                                      \
      const ArrayView&, const ArrayView&, const ArrayView&, const ArrayView&, const ArrayView&, \
      const ArrayView&, const ArrayView&, const ArrayView&, const ArrayView&, Activation, bool);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
