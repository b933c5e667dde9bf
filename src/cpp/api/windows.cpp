#include "api/windows.hpp"

#include <algorithm>
#include <new>

namespace unrolled {
namespace {

constexpr int64_t kMostSteps = int64_t{1} << 31;  // of windows, in places of an image

}  // namespace

WindowShape window_shape(const char* function, const ArrayView& x, const ArrayView& y, int64_t h,
                         int64_t w, const WindowOptions& o) {
  if (h < 1 || w < 1 || o.down < 1 || o.right < 1)
    fail_value("[", function, "] expected a kernel and strides of at least 1, got ", h, " x ", w,
               " and ", o.down, " x ", o.right);
  for (const int64_t steps : {h, w, o.down, o.right, o.top, o.left})
    if (steps > kMostSteps || steps < -kMostSteps)
      fail_value("[", function, "] expected a kernel, strides and padding of at most ", kMostSteps,
                 " places, got ", steps);
  const WindowShape s{axis(x, 0), axis(x, 1), axis(x, 2), axis(x, 3), h,          w,
                      o.down,     o.right,    o.top,      o.left,     axis(y, 1), axis(y, 2)};
  // All that places see can be counted: no size and no distance overflows.
  const auto seen = [](int64_t places, int64_t stride, int64_t taps) {
    return static_cast<double>(std::max<int64_t>(places - 1, 0)) * static_cast<double>(stride) +
           static_cast<double>(taps);
  };
  const double elements = seen(s.rows, s.down, h) * seen(s.columns, s.right, w);
  if (elements * static_cast<double>(s.C + 1) > 0x1p60) throw std::bad_alloc();
  return s;
}

bool is_empty(const WindowShape& s) { return s.N * s.rows * s.columns == 0; }

bool is_flat(const WindowShape& s) {
  return s.h == 1 && s.w == 1 && s.down == 1 && s.right == 1 && s.top == 0 && s.left == 0 &&
         s.rows == s.H && s.columns == s.W;
}
WindowShape flattened(WindowShape s) {
  s.W = s.columns = s.N * s.H * s.W;
  s.N = s.H = s.rows = 1;
  return s;
}

namespace {

// Elements of what `lines` lines of `columns` places see, in `channels` channels.
int64_t window_elements(const WindowShape& s, int64_t lines, int64_t columns, int64_t channels) {
  return ((lines - 1) * s.down + s.h) * ((columns - 1) * s.right + s.w) * channels;
}

}  // namespace

int64_t largest_piece(const WindowShape& s, const WindowBlocks& b) {
  return (s.columns + b.pieces - 1) / b.pieces;
}

int64_t scratch_elements(const WindowShape& s, const WindowBlocks& b, int64_t panel) {
  return round_up(window_elements(s, b.lines, largest_piece(s, b), b.channels) + panel, panel);
}

WindowBlocks blocks_of(const WindowShape& s, int64_t elements, int64_t channels, int64_t multiple) {
  WindowBlocks b{1, 1, std::min(channels, s.C)};
  if (s.N == 1 && s.rows == 1) {
    const int64_t places = std::clamp<int64_t>(elements / b.channels / 24 * 24, 24, 192);
    b.pieces = std::clamp<int64_t>(round_up((s.columns + places - 1) / places, multiple), 1,
                                   std::max<int64_t>(s.columns / 6, 1));
  } else {
    while (b.lines < s.rows && window_elements(s, b.lines + 1, s.columns, b.channels) <= elements)
      ++b.lines;
  }
  return b;
}

double window_work(const WindowShape& s, int64_t each) {
  return 2.0 * static_cast<double>(s.N * s.rows) * static_cast<double>(s.columns) *
         static_cast<double>(each) * static_cast<double>(std::max<int64_t>(s.h * s.w, 1));
}

int64_t least_in_place(const WindowShape& s, bool depthwise, int64_t lanes) {
  const bool all = s.left <= 0 && (s.columns - 1) * s.right - s.left + s.w <= s.W;
  if (depthwise) return s.C % lanes == 0 ? 16 : s.columns + 1;
  return all ? 1 : s.columns + 1;
}

}  // namespace unrolled
