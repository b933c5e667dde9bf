// The unit of an instruction set that adds products of narrow numbers to another one, its base:
// the scans in bfloat16 and int8 and the head in bfloat16 once more, compiled with these
// instructions, and with AMX those of float32, see chosen.hpp; all else is the base's.
#if !defined(UNROLLED_ISA) || !defined(UNROLLED_BASE)
#error "compile with -DUNROLLED_ISA=avx512_bf16|avx512_amx -DUNROLLED_BASE=avx512"
#endif

#include "kernels/chosen.hpp"
#include "kernels/narrow_cells.hpp"

namespace unrolled::UNROLLED_ISA {

const KernelTable& table() noexcept {
  static const KernelTable extended = []() noexcept {
    KernelTable table = UNROLLED_BASE::table();
    table.isa = UNROLLED_STRING(UNROLLED_ISA);
    table.f32.cells[static_cast<int>(Precision::kBf16)] = kCellsBf16;
    table.f32.cells[static_cast<int>(Precision::kInt8)] = kCellsInt8;
    table.f32.heads[static_cast<int>(Precision::kBf16)] = &kHeadBf16;
    choose_products(table.f32);
    return table;
  }();
  return extended;
}

}  // namespace unrolled::UNROLLED_ISA
