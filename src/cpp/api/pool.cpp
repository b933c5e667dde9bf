#include "api/pool.hpp"

#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {

template <class T>
void run_max_pool(const ArrayView& x, const ArrayView& y, int64_t h, int64_t w,
                  const WindowOptions& windows) {
  const char* name = "max_pool";
  PoolArgs<T> args{};
  const WindowShape s = args.shape = window_shape(name, x, y, h, w, windows);
  args.x = contiguous<const T>({name, "x", "(N, H, W, C)", {s.N, s.H, s.W, s.C}}, x, Access::kRead);
  args.y = contiguous<T>({name, "y", "(N, H', W', C)", {s.N, s.rows, s.columns, s.C}}, y,
                         Access::kWrite);
  if (is_empty(s) || s.C == 0) return;
  const ImageKernels<T>& k = *kernels_of<T>(kernels()).images;
  const int64_t panel = kernels_of<T>(kernels()).panel;
  args.blocks = blocks_of(s, kBlockElements, panel, 1);
  args.scratch_size = scratch_elements(s, args.blocks, panel);
  const int size = team_size(window_work(s, s.C), 0, s.N * s.rows);
  Buffer<T> scratch(size * args.scratch_size);
  args.scratch = scratch.data();
  run_team(size, [&](const Team& team) { k.max_pool(args, team); });
}

template <class T>
void run_max_pool_backward(const ArrayView& x, const ArrayView& y, const ArrayView& dy,
                           const ArrayView& dx, int64_t h, int64_t w,
                           const WindowOptions& windows) {
  const char* name = "max_pool_backward";
  PoolBackwardArgs<T> args{};
  const WindowShape s = args.shape = window_shape(name, x, y, h, w, windows);
  args.x = contiguous<const T>({name, "x", "(N, H, W, C)", {s.N, s.H, s.W, s.C}}, x, Access::kRead);
  args.y = contiguous<const T>({name, "y", "(N, H', W', C)", {s.N, s.rows, s.columns, s.C}}, y,
                               Access::kRead);
  args.dy = contiguous<const T>({name, "dy", "(N, H', W', C)", {s.N, s.rows, s.columns, s.C}}, dy,
                                Access::kRead);
  args.dx = contiguous<T>({name, "dx", "(N, H, W, C)", {s.N, s.H, s.W, s.C}}, dx, Access::kWrite);
  if (s.N == 0 || s.C == 0) return;
  const ImageKernels<T>& k = *kernels_of<T>(kernels()).images;
  run_team(team_size(4 * window_work(s, s.C), 0, s.N * (s.C / k.lanes + 1)),
           [&](const Team& team) { k.max_pool_backward(args, team); });
}

#define UNROLLED_INSTANTIATE(T)                                                                \
  template void run_max_pool<T>(const ArrayView&, const ArrayView&, int64_t, int64_t,          \
                                const WindowOptions&);                                         \
  template void run_max_pool_backward<T>(const ArrayView&, const ArrayView&, const ArrayView&, \
                                         const ArrayView&, int64_t, int64_t,                   \
                                         const WindowOptions&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
