// Batch normalisation over the last axis; arrays (..., C) come as rows (N, C).
#pragma once

#include "api/array.hpp"
#include "kernels/table.hpp"

namespace unrolled {

// mean and variance (C) of the channels of x (N, C), N >= 1; the variance is the biased one.
template <class T>
void run_moments(const ArrayView& x, const ArrayView& mean, const ArrayView& variance);

// y (N, C) = activation((x - mean) * scale + bias), by channel.
template <class T>
void run_normalise(const ArrayView& x, const ArrayView& mean, const ArrayView& scale,
                   const ArrayView& bias, const ArrayView& y, Activation activation);

// Gradients of that, with scale = weight * inverse: adds to dweight and dbias (C), writes dx unless
// it is absent. With `of_batch` mean and inverse are functions of x.
template <class T>
void run_normalise_backward(const ArrayView& x, const ArrayView& mean, const ArrayView& scale,
                            const ArrayView& inverse, const ArrayView& y, const ArrayView& dy,
                            const ArrayView& dweight, const ArrayView& dbias, const ArrayView& dx,
                            Activation activation, bool of_batch);

}  // namespace unrolled
