// The weights of a layer, as a user has them and as kernels read them. A part of the plain
// interface of table.hpp.
#pragma once

#include <cstdint>

#include "cells/gate_table.hpp"

namespace unrolled {

// Packed weights of one direction of one layer. `panel` = columns that a micro-kernel computes
// together. The transposed copies are null when they were not asked for. With less than full
// precision a column of K values takes fewer words of T, with their scale where they have one.
template <class T>
struct PackedLayer {
  int64_t I, H;
  int64_t R;      // columns of the state h: H, unless it is projected
  T* input;       // [gate panels][I][panel]
  T* recurrent;   // [gate panels][R][panel], of the gates that are in the product with h
  T* bias_input;  // [gate_width, padded to whole panels]
  T* bias_recurrent;
  T* input_t;      // [panels of I][gate_width][panel]
  T* recurrent_t;  // [panels of R][width of the gates of recurrent][panel]
  T* unit;         // [blocks of units][P][L]
  // Of a second product, else of no size: [panels of R][H][panel], its bias, and its transpose
  // [panels of H][R in whole vectors][panel].
  T *second, *second_bias, *second_t;
  GateOptions<T> gates;  // of a cell with functions
};

// torch-shaped parameters: weight_ih (G*H, I), weight_hh (G*H, R), biases (G*H) or null; the P
// parameters of each unit (P*H) and the projection (R, H), null where the cell has none. Without a
// recurrent product weight_hh and bias_hh are null.
template <class T>
struct LayerParameters {
  T *weight_ih, *weight_hh, *bias_ih, *bias_hh, *weight_unit, *weight_hr;
};

// Sizes, in elements, of the arrays of PackedLayer and of the rows of a scan; 0 of what is not.
struct LayerSizes {
  int64_t gate_width;   // row of pre-activations
  int64_t split_width;  // row of a separate recurrent gradient, or 0
  int64_t saved_width;  // values saved for BPTT, a token
  int64_t state_width;  // row of a state: H rounded up to whole blocks
  int64_t unit;         // parameters of the units, and the row of their gradients
  int64_t input, recurrent, bias, input_t, recurrent_t;
  int64_t operand_width;   // row of scratch for rows that are converted before a product, or 0
  int64_t gradient_width;  // the same for rows of gradients
  int64_t least_rows;      // of a batch, from which rows are converted at all
  int64_t recurrent_parts, recurrent_t_parts;  // the columns in parts (kernels/split.hpp), or 0
  int64_t forward_panels, backward_panels;     // what threads can share
  // Of a cell with a second product: its packed parts, a row of what it multiplies, of its
  // gradient, and of the values that inference hands from the first product to it.
  int64_t second, second_bias, second_t, middle_width, second_width, hold_width;
  // Of a normalised cell: numbers saved of each token, and a row of the gradients behind the norms.
  // Its middle_width is that of a row of the recurrent product.
  int64_t moment_count, scaled_width;
};

}  // namespace unrolled
