// The scans of float32 where products may be made of three parts: each call takes the kernels that
// are faster for its size, SplitTiles or those of the base. (The head's products gain 3 to 14%
// only.)
//
// Packed arrays are the same for both. What is chosen follows from the sizes of a layer and the
// rows of a batch, so that a row has the same bits in all batches from a size on, and in all
// smaller ones.
#pragma once

#include "kernels/cell_kernels.hpp"

namespace unrolled::UNROLLED_BASE {
const KernelTable& table() noexcept;
}

namespace unrolled::UNROLLED_ISA {

#if defined(__AMX_BF16__)
// An instruction takes as long for one row as for sixteen, and a row is split once for all units,
// which has to pay. Measured, two threads, of the time of multiply-adds: LSTM with 128 units and 32
// rows 1.1, 256 and 32 0.8, 512 and 24 0.85, 1024 and 128 0.65; GRU the same, RNN 1.2, 1.0, 0.9,
// 0.7.
UNROLLED_INLINE bool is_split(int64_t rows, int64_t units) { return rows >= 24 && units >= 256; }

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
}
#else
inline void choose_products(Kernels<float>&) noexcept {}
#endif

}  // namespace unrolled::UNROLLED_ISA
