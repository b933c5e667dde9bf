"""Linear, softmax cross-entropy, dropout and sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ._precision import Precision
from ._types import Array, empty, indices_of, rows_of


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x weight^T + bias. Shapes: x (..., I), weight (O, I), bias (O,), y (..., O)."""
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"[linear] expected x of shape (..., I) and weight of shape (O, I), "
            f"got {x.shape} and {weight.shape}"
        )
    y = empty((*x.shape[:-1], weight.shape[0]), x.dtype)
    _core.linear(rows_of("linear", "x", x), weight, bias, rows_of("linear", "y", y))
    return y


class PackedLinear:
    """`linear` with the weight packed once, for many calls with few rows, as in a stream.

    The packed copy is a snapshot: later changes of the arrays do not reach it.

    Shapes: weight (O, I), bias (O,); x (N, I), result (N, O).
    """

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        self._packed = _core.PackedLinear(weight, bias)
        self._outputs = weight.shape[0]

    def __call__(self, x: Array) -> Array:
        """Returns x weight^T + bias; the same bits as `linear`."""
        y = np.empty((len(x), self._outputs), x.dtype)
        self._packed.apply(x, y)
        return y


def linear_backward(
    x: Array,
    weight: Array,
    dy: Array,
    *,
    dweight: Array,
    dbias: Array | None = None,
    needs_dx: bool = True,
) -> Array | None:
    """Pullback of `linear`: adds to dweight (O, I) and dbias (O,), returns dx (..., I)."""
    if weight.ndim != 2 or x.shape[-1:] != weight.shape[1:] or dy.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"[linear_backward] expected x (..., I), weight (O, I) and dy (..., O), "
            f"got {x.shape}, {weight.shape} and {dy.shape}"
        )
    dx = empty(x.shape, x.dtype) if needs_dx else None
    _core.linear_backward(
        rows_of("linear_backward", "x", x),
        weight,
        rows_of("linear_backward", "dy", dy),
        None if dx is None else rows_of("linear_backward", "dx", dx),
        dweight,
        dbias,
    )
    return dx


def log_softmax(logits: Array) -> Array:
    """Returns log(exp(logits) / sum(exp(logits))) along the last axis; -inf logits are allowed.

    Shapes: logits (..., V) -> (..., V).
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def linear_cross_entropy(
    x: Array,
    weight: Array,
    bias: Array | None,
    targets: ArrayLike,
    *,
    precision: Precision = "full",
) -> Array:
    """Cross-entropy of softmax(x weight^T + bias), fused: only a block of logits exists at a time.

    Shapes: x (N, H), weight (V, H), bias (V,) or None, targets (N,) integers; negative targets
    are ignored (loss 0). Returns the losses (N,) in nats.

    With `precision` "bf16", for float32, x and weight are rounded to bfloat16 where they multiply;
    sums, logits and losses are float32. See `Precision`; there is no "int8".
    """
    losses = np.empty(x.shape[:1], x.dtype)
    _core.cross_entropy(
        x,
        weight,
        bias,
        indices_of("linear_cross_entropy", "targets", targets),
        losses,
        1.0,
        0.0,
        None,
        None,
        None,
        precision,
    )
    return losses


def linear_cross_entropy_vjp(
    x: Array,
    weight: Array,
    bias: Array | None,
    targets: ArrayLike,
    scale: float = 1.0,
    *,
    smoothing: float = 0.0,
    precision: Precision = "full",
) -> tuple[Array, Array, Array, Array | None]:
    """`linear_cross_entropy` with the gradients of scale * sum(losses), in one pass.

    Label smoothing takes the part `smoothing`, 0 <= smoothing < 1, of the target's probability and
    gives it to all classes alike: the loss is that of (1 - smoothing) onehot + smoothing / V.
    Source: Szegedy et al., "Rethinking the Inception architecture", 2016.

    With `precision` "bf16" the gradient of the logits is rounded too, where it multiplies.

    Returns:
        losses (N,), dx (N, H), dweight (V, H), dbias (V,) or None; all new arrays.
    """
    losses = np.empty(x.shape[:1], x.dtype)
    dx, dweight = empty(x.shape, x.dtype), empty(weight.shape, weight.dtype)
    dweight.fill(0)
    dbias = None if bias is None else np.zeros_like(bias)
    _core.cross_entropy(
        x,
        weight,
        bias,
        indices_of("linear_cross_entropy", "targets", targets),
        losses,
        scale,
        smoothing,
        dx,
        dweight,
        dbias,
        precision,
    )
    return losses, dx, dweight, dbias


def dropout(x: Array, p: float, *, seed: int, offset: int = 0, variational: bool = False) -> Array:
    """x with each element zeroed with probability p and the others divided by 1 - p.

    Element i is decided by (seed, offset + i) alone, whatever the thread count; the same call on
    dy is the pullback. Source: Srivastava et al. 2014; random bits from Philox4x32-10.

    With `variational` x is (T, ...) and i counts within one step, so that every step drops the
    same elements. Source: Gal and Ghahramani 2016.
    """
    if variational:
        step = np.ones(x.shape[1:], x.dtype)
        mask = dropout(step, p, seed=seed, offset=offset)
        return np.multiply(x, mask, out=empty(x.shape, x.dtype))
    out = empty(x.shape, x.dtype)
    if not x.flags.c_contiguous:
        raise ValueError("[dropout] expected x to be C-contiguous")
    _core.dropout(x.reshape(-1), out.reshape(-1), p, seed, offset)
    return out


def sample(
    logits: Array, u: ArrayLike, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> NDArray[np.int64]:
    """Draws one index a row from softmax(logits / temperature).

    Shapes: logits (B, V); u (B,) uniform numbers in [0, 1), which decide the draw.

    Args:
        temperature: 0 takes the most probable index (the first of equals).
        top_k: keep only the k most probable; 0 keeps all.
        top_p: then keep the smallest set of most probable ones whose mass reaches top_p
            (Holtzman et al. 2020).
    """
    out = np.empty(logits.shape[:1], np.int64)
    _core.sample(logits, np.ascontiguousarray(u, np.float64), temperature, top_k, top_p, out)
    return out
