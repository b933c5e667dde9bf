// GRU with layer normalisation: that of gru.hpp with
//   x = gain_ih * norm(W_ih x_t) + b_ih       u = gain_hh * norm(W_hh h) + b_hh
// where norm(v) is v minus its mean over its standard deviation, of all 3*H gates of a row.
// Source: Ba, Kiros & Hinton 2016, whose norms of r z and of n are apart; their shifts are the
// biases.
#pragma once

#include "cells/gru.hpp"

namespace unrolled::UNROLLED_ISA {

struct GruNorm : Gru {
  static constexpr const char* kName = "gru_norm";
  static constexpr const char* kUnitNames[] = {"gain_ih_r", "gain_ih_z", "gain_ih_n",
                                               "gain_hh_r", "gain_hh_z", "gain_hh_n"};
  static constexpr int kUnitCount = 6;
  static constexpr bool kNormalisesCell = false;
};

}  // namespace unrolled::UNROLLED_ISA
