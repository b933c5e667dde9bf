"""Weights of recurrent layers in 8 bits, as files hold them and int8 kernels round them.

    q = round(w * (127 / m)),   m = max |w| of the row,   w' = q * m / 127

A file holds q and m. What comes back is w', whose largest magnitude in a row is m again, so that
rounding it gives the same q and the same scale: a model that was read from such a file has the bits
that the full one has in precision "int8". Biases, convolutions and heads stay as they are.
"""

from collections.abc import Mapping

import numpy as np

from unrolled.training import Array

#: Names of what int8 kernels round, without the layer; and of the rows' largest magnitudes.
_MATRICES = ("weight_ih_l", "weight_hh_l")
_LARGEST = ".largest"

#: Rows below this are zeros to the kernels.
_SMALLEST = np.float32(1e-30)


def quantised(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the arrays of a file: q int8 (R, K) and m float32 (R,) for a recurrent matrix.

    Raises:
        TypeError: a recurrent matrix is not float32.
    """
    arrays: dict[str, Array] = {}
    for name, weight in weights.items():
        if not name.rpartition(".")[2].startswith(_MATRICES):
            arrays[name] = weight
            continue
        if weight.dtype != np.float32:
            raise TypeError(f"[export] int8 takes weights of float32; {name} is {weight.dtype}")
        largest = np.abs(weight).max(axis=1)
        steps = np.zeros_like(largest)
        np.divide(np.float32(127.0), largest, out=steps, where=largest > _SMALLEST)
        # In float64 products are exact, as those of the kernels before they are rounded.
        exact = weight.astype(np.float64) * steps.astype(np.float64)[:, None]
        arrays[name] = np.rint(exact).astype(np.int8)
        arrays[name + _LARGEST] = largest
    return arrays


def dequantised(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the weights w' float32 of the arrays that `quantised` gave.

    Raises:
        ValueError: a matrix of 8 bits has no, or other, magnitudes of its rows.
    """
    weights: dict[str, Array] = {}
    for name, array in arrays.items():
        if name.endswith(_LARGEST):
            continue
        weights[name] = array
        if array.dtype == np.int8:
            largest = arrays.get(name + _LARGEST)
            if largest is None or largest.shape != array.shape[:1]:
                raise ValueError(f"{name} is in 8 bits, without a scale for each of its rows")
            exact = array * (largest.astype(np.float64)[:, None] / 127.0)
            # 127 * (m / 127) may round beside m, which the scale follows from.
            ends = np.abs(array.astype(np.int64)) == 127
            exact = np.where(ends, np.sign(array) * largest[:, None], exact)
            weights[name] = exact.astype(np.float32)
    return weights
