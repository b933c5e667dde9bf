// The products of float32 where they may be made of three parts: each call takes the kernels that
// are faster for its size, SplitTiles or those of the base.
//
// Packed arrays are the same for both. What is chosen follows from the sizes of a layer and the
// rows of a batch, so that a row has the same bits in all batches from a size on, and in all
// smaller ones.
#pragma once

#include "kernels/cell_kernels.hpp"
#include "kernels/head.hpp"

namespace unrolled::UNROLLED_BASE {
const KernelTable& table() noexcept;
}

namespace unrolled::UNROLLED_ISA {

#if defined(__AMX_BF16__)
UNROLLED_INLINE bool is_split(int64_t rows, int64_t units) {
  return rows >= SplitTiles::least_rows(units);
}

template <class Cell, int cell>
struct ChosenScan {
  static const CellKernels<float>& others() {
    return UNROLLED_BASE::table().f32.cells[static_cast<int>(Precision::kFull)][cell];
  }
  static void pack(const LayerParameters<const float>& from, PackedLayer<float>& to,
                   const Team& team) {
    others().pack(from, to, team);
  }
  static void forward(const ForwardArgs<float>& args, const Team& team) {
    if (is_split(args.plan->B, args.weights->H))
      run_forward<Cell, float, SplitTiles>(args, team);
    else
      others().forward(args, team);
  }
  static void backward(const BackwardArgs<float>& args, const Team& team) {
    if (is_split(args.plan->B, args.weights->H))
      run_backward<Cell, float, SplitTiles>(args, team);
    else
      others().backward(args, team);
  }
  static constexpr CellKernels<float> kKernels = {Layout<Cell, float, SplitTiles>::sizes, pack,
                                                  forward, backward};
};

// The softmax head. Measured, one thread, of the time of multiply-adds: 1280 rows of 256 inputs and
// 4000 classes 0.71, 1024 of 256 and 10000 0.76; 100 classes 1.15.
inline void choose_cross_entropy(const CrossEntropyArgs<float>& args, const Team& team) {
  if (args.N >= 64 && args.V >= 256 && args.I >= 128)
    cross_entropy<SplitTiles>(args, team);
  else
    UNROLLED_BASE::table().f32.heads[static_cast<int>(Precision::kFull)]->cross_entropy(args, team);
}

// Where a cell stands among all.
#define UNROLLED_PLACE(Cell) k##Cell,
enum CellPlace { UNROLLED_CELLS(UNROLLED_PLACE) kCellCount };

// Puts the choice into a table that has what the base has.
inline void choose_products(Kernels<float>& kernels) noexcept {
  constexpr int kFull = static_cast<int>(Precision::kFull);
  static CellKernels<float> cells[kCellCount];
  for (int cell = 0; cell < kCellCount; ++cell) cells[cell] = kernels.cells[kFull][cell];
#define UNROLLED_CHOSEN(Cell) cells[k##Cell] = ChosenScan<Cell, k##Cell>::kKernels;
  UNROLLED_NARROW_CELLS(UNROLLED_CHOSEN)
  UNROLLED_CHOSEN(LstmPeephole)
  UNROLLED_CHOSEN(LstmNorm)
  kernels.cells[kFull] = cells;
  static HeadKernels<float> head = *kernels.heads[kFull];
  head.row_words = [](int64_t K) { return pass_words<SplitTiles>(K); };
  head.cross_entropy = choose_cross_entropy;
  kernels.heads[kFull] = &head;
  kernels.outer_scratch = kOuterScratch<float>;
}
#else
inline void choose_products(Kernels<float>&) noexcept {}
#endif

}  // namespace unrolled::UNROLLED_ISA
