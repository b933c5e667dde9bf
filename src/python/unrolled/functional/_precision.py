"""In which numbers products multiply."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["full", "bf16", "int8"]
"""In which numbers the products of a recurrent layer multiply. Parameters, states, biases, outputs
and gradients are those of the layer's dtype whatever it is; below "full", that is float32.

"full": in the layer's dtype. With AMX, LSTM, GRU and RNN multiply float32 as sums of three bfloat16
    each, with 256 units and more in batches of 16 rows and more, with 128 in batches of 64; and so
    does a head's cross-entropy of 256 classes, 128 inputs and 64 rows and more: as exact, and
    faster. A row has the same bits in all batches from that size on, and in all smaller ones.
"bf16": weights and the rows that they multiply (x, h and, in BPTT, the gradients of gates) are
    rounded to bfloat16, to nearest even; sums are float32. For training and inference. A head's
    cross-entropy rounds its weight, its rows and the gradients of logits.
"int8": weights are rounded once to 8 bits with a scale for each row, so that the largest magnitude
    becomes 127, and x and h at every step with a scale for each sequence; sums are exact. For
    inference. Reads a quarter of the memory, which is what a small batch waits for.

A row with a NaN or an infinity gives NaN in that row. Source of int8: dynamic quantisation as in
Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", 2018, symmetric.
"""


def check_precision(where: str, precision: Precision) -> None:
    """Raises ValueError unless it is a `Precision`."""
    if precision not in get_args(Precision):
        names = ", ".join(get_args(Precision))
        raise ValueError(f"[{where}] expected precision to be one of {names}, got {precision!r}")
