"""What the forward pass stores for BPTT, what is recomputed instead, and the memory for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _core
from ._cells import load_kernels
from ._precision import Precision
from ._scan_arguments import GradientClip, clip_limits
from ._types import indices_of

Recompute = Literal["none", "gates"] | int
"""What BPTT recomputes; the gradients have the same bits whatever it is.

"none": nothing. Stored a token: the states that enter the step and the values inside the cell,
    (2 + 4)*H for an LSTM, (1 + 4)*H for a GRU, (1 + 1)*H for an RNN, H rounded up to cache lines.
"gates": the values inside the cell. The states are stored: 2*H, H and H a token. Costs the products
    of the forward pass once more, over a few hundred tokens at a time.
k >= 1: everything between states that are stored every k steps, rounded up to whole chunks of 256
    tokens. Costs the forward pass once more, and the memory of one such window.

Source: Chen et al., "Training deep nets with sublinear memory cost", 2016; for recurrent networks
Gruslys et al., "Memory-efficient backpropagation through time", 2016.
"""


@dataclass(frozen=True)
class ScanMemory:
    """Bytes that one scan with gradients takes, beside the caller's arrays.

    Attributes:
        weights: packed parameters, with the copies for BPTT; kept with `saved`.
        saved: from the forward pass until its `Saved` is dropped.
        forward: scratch while the forward pass runs.
        backward: scratch while the pullback runs.
    """

    weights: int
    saved: int
    forward: int
    backward: int

    @property
    def peak(self) -> int:
        """The most at any time, with the scratch of the larger pass."""
        return self.weights + self.saved + max(self.forward, self.backward)


def recompute_code(where: str, recompute: Recompute) -> int:
    """The kernels' number for it. Raises ValueError for anything else."""
    if recompute == "none":
        return _core.STORE_ALL
    if recompute == "gates":
        return _core.STORE_STATES
    if isinstance(recompute, int) and not isinstance(recompute, bool) and recompute >= 1:
        return recompute
    raise ValueError(
        f'[{where}] expected recompute to be "none", "gates" or a number of steps >= 1, '
        f"got {recompute!r}"
    )


def scan_memory(
    cell: str,
    input_size: int,
    hidden_size: int,
    steps: int,
    batch: int,
    *,
    output_size: int | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    recompute: Recompute = "none",
    precision: Precision = "full",
    dtype: DTypeLike = np.float32,
    recurrent_factors: bool = False,
    clip_gradient: GradientClip = None,
) -> ScanMemory:
    """The memory of `scan_vjp` and its pullback with an initial state, to the byte, beforehand.

    Shapes: steps T, batch B, lengths (B,); x (T, B, I) is dense; output_size is P of a cell that
    projects, None = H; recurrent_factors says whether there are any. The figures are those of the
    instruction set and the number of threads in use.
    """
    for name, size, least in (
        ("input_size", input_size, 1),
        ("hidden_size", hidden_size, 1),
        ("steps", steps, 0),
        ("batch", batch, 0),
    ):
        if size < least:
            raise ValueError(f"[memory] expected {name} >= {least}, got {size}")
    load_kernels(cell, dtype, precision)
    return ScanMemory(
        *_core.memory(
            cell,
            input_size,
            hidden_size,
            hidden_size if output_size is None else output_size,
            steps,
            batch,
            None if lengths is None else indices_of("memory", "lengths", lengths),
            reverse,
            recompute_code("memory", recompute),
            precision,
            np.dtype(dtype) == np.float64,
            recurrent_factors,
            clip_limits("memory", clip_gradient)[1] < math.inf,
        )
    )
