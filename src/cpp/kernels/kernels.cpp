// One ISA unit. CMake compiles this file once per instruction set with -DUNROLLED_ISA=<name> and
// that set's flags; everything it includes lives in namespace unrolled::<name>, and the only thing
// that it exports is its table.
#ifndef UNROLLED_ISA
#error "compile with -DUNROLLED_ISA=generic|avx2|avx512|neon"
#endif

#include "kernels/attention.hpp"
#include "kernels/ctc.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/image_kernels.hpp"
#include "kernels/narrow_cells.hpp"

namespace unrolled::UNROLLED_ISA {
namespace {

#define UNROLLED_INFO(Cell) cell_info<Cell>(),
#define UNROLLED_F32(Cell) cell_kernels<Cell, float, Full<float>>(),
#define UNROLLED_F64(Cell) cell_kernels<Cell, double, Full<double>>(),
constexpr CellInfo kCells[] = {UNROLLED_CELLS(UNROLLED_INFO)};
constexpr CellKernels<float> kCellsF32[] = {UNROLLED_CELLS(UNROLLED_F32)};
constexpr CellKernels<double> kCellsF64[] = {UNROLLED_CELLS(UNROLLED_F64)};

template <class T>
constexpr HeadKernels<T> kHead = head_kernels<T, Full<T>>();

template <class T>
constexpr Kernels<T> kernels(const CellKernels<T>* full, const CellKernels<T>* bf16,
                             const CellKernels<T>* int8, const HeadKernels<T>* head_bf16,
                             const ImageKernels<T>* images) {
  return {.cells = {full, bf16, int8},
          .panel = kPlainPanel<T>,
          .outer_scratch = kOuterScratch<T>,
          .heads = {&kHead<T>, head_bf16, nullptr},
          .linear = linear<T>,
          .linear_backward = linear_backward<T>,
          .source_panel = kSourceVectors * kLanes<T>,
          .pack_source_rows = pack_source_rows<T>,
          .pack_source_columns = pack_source_columns<T>,
          .attention = attention<T>,
          .attention_backward = attention_backward<T>,
          .log_sum_exp = log_sum_exp<T>,
          .ctc_scratch = ctc_scratch<T>,
          .ctc = ctc<T>,
          .images = images,
          .adam = adam<T>,
          .sgd = sgd<T>,
          .rmsprop = rmsprop<T>,
          .average = average<T>,
          .square_sums = square_sums<T>,
          .apply_math = apply_math<T>,
          .run_fma = run_fma<T>,
          .sum_all = sum_all<T>};
}

constexpr KernelTable kTable = {
    UNROLLED_STRING(UNROLLED_ISA),
    sizeof(kCells) / sizeof(kCells[0]),
    sizeof(kCellsBf16) / sizeof(kCellsBf16[0]),
    kCells,
    kernels<float>(kCellsF32, kCellsBf16, kCellsInt8, &kHeadBf16, &kImagesF32),
    kernels<double>(kCellsF64, nullptr, nullptr, nullptr, &kImagesF64)};

}  // namespace

const KernelTable& table() noexcept { return kTable; }

}  // namespace unrolled::UNROLLED_ISA
