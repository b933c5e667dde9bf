// What convolutions and pooling share: the shape of their windows, and how places are cut into
// blocks.
#pragma once

#include "api/array.hpp"
#include "kernels/table.hpp"

namespace unrolled {

// Place (i, j) of the result sees lines i * down - top .. of an image and columns
// j * right - left ..; how many places there are is said by the array of the result.
struct WindowOptions {
  int64_t down, right, top, left;
};

// Elements of a block's windows: a part of L2, where tiles read them again for each panel.
inline constexpr int64_t kBlockElements = int64_t{1} << 15;

// x is (N, H, W, C) and y (N, H', W', ...). ValueError unless strides and kernel are at least 1,
// and all steps at most 2^31; MemoryError where no memory could hold what the places see.
WindowShape window_shape(const char* function, const ArrayView& x, const ArrayView& y, int64_t h,
                         int64_t w, const WindowOptions& options);

bool is_empty(const WindowShape& s);

// A convolution of single places, none of which is left out, sees images as one long line.
bool is_flat(const WindowShape& s);
WindowShape flattened(WindowShape s);

// Blocks of about `elements` elements of `channels` channels; a flat line is cut into pieces,
// `multiple` of them at least.
WindowBlocks blocks_of(const WindowShape& s, int64_t elements, int64_t channels, int64_t multiple);

// Places of the longest piece of a line.
int64_t largest_piece(const WindowShape& s, const WindowBlocks& b);

// Elements that a block's copied windows take. A tile reads whole vectors, of which the last may
// begin at the last element.
int64_t scratch_elements(const WindowShape& s, const WindowBlocks& b, int64_t panel);

// Edges are copied, so places in place must be many; those of a dense convolution, whose tiles must
// be full and whose copies cost little, all.
int64_t least_in_place(const WindowShape& s, bool depthwise, int64_t lanes);

// Floating-point operations of `each` multiply-adds a tap and place.
double window_work(const WindowShape& s, int64_t each);

}  // namespace unrolled
