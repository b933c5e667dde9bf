// What most cells have in common; see all.hpp for the contract.
#pragma once

#include "simd/math.hpp"

namespace unrolled::UNROLLED_ISA {

struct CellBase {
  static constexpr const char* const* kUnitNames = nullptr;
  static constexpr int kUnitCount = 0;
  static constexpr bool kRecurrent = true;
};

}  // namespace unrolled::UNROLLED_ISA
