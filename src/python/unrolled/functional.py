"""Functions on plain NumPy arrays: the kernels, with their arguments converted and outputs made.

This is the only module that imports the compiled extension. Letters: T steps, B batch, I input,
H hidden, G gates, N rows, V vocabulary, E embedding size. Everything in one call has one dtype,
float32 or float64; large arrays are never cast or copied silently. A wrong argument raises
ValueError (shape, layout, range) or TypeError (dtype) that names the function, what was expected
and what came.

Gradients follow one rule: gradients of inputs are returned, gradients of parameters are ADDED to
the arrays that the caller passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._core import Weights as Weights

Array = NDArray[Any]
States = tuple[Array, ...]

__all__ = [
    "CellInfo",
    "Lookup",
    "Saved",
    "Weights",
    "adam_step",
    "available_isas",
    "cell_info",
    "cells",
    "dropout",
    "embedding",
    "embedding_backward",
    "get_num_threads",
    "global_norm",
    "isa",
    "linear",
    "linear_backward",
    "linear_cross_entropy",
    "linear_cross_entropy_vjp",
    "measure_bandwidth",
    "measure_fma_peak",
    "pack",
    "sample",
    "scan",
    "scan_backward",
    "scan_vjp",
    "set_num_threads",
    "sgd_step",
    "trim_memory",
]


@dataclass(frozen=True)
class CellInfo:
    """Name, gate names and state names of a cell, in the order of its arrays."""

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]


@lru_cache(maxsize=1)
def cells() -> tuple[CellInfo, ...]:
    """All compiled cells."""
    return tuple(CellInfo(c.name, c.gates, c.states) for c in _core.cells())


def cell_info(name: str) -> CellInfo:
    """The cell called `name`. Raises ValueError, naming the choices, if there is none."""
    for info in cells():
        if info.name == name:
            return info
    names = ", ".join(info.name for info in cells())
    raise ValueError(f"[cell] expected one of {names}, got {name!r}")


@dataclass(frozen=True)
class Saved:
    """What `scan_vjp` keeps for its pullbacks; may be used for any number of them.

    It refers to the caller's x (no copy is made): x must not change before the last pullback.
    """

    _core: _core.Saved
    weights: Weights
    shape: tuple[int, int]
    """(T, B) of the sequence."""
    lookup: Lookup | None = None

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes, without x."""
        return self._core.nbytes


@dataclass(frozen=True)
class Lookup:
    """Input of a scan that is looked up in a table: x[t, b] = table[tokens[t, b]].

    Shapes: tokens (T, B) integers, table (V, I). The scan gives what it gives for the gathered x,
    but where tokens repeat (T*B >= V) it multiplies each row of the table once instead of each
    token: for characters that is most of the work of the input product and of its gradients.
    The gradient that `scan_backward` returns for it is that of the table.
    """

    tokens: NDArray[np.int64]
    table: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, B, I), the shape of the looked-up input."""
        return (*self.tokens.shape, *self.table.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the looked-up input."""
        return self.table.dtype

    @property
    def pays(self) -> bool:
        """Whether the table has no more rows than there are tokens."""
        return bool(self.table.shape[0] <= self.tokens.size)

    def gather(self) -> Array:
        """The looked-up input (T, B, I)."""
        return embedding(self.tokens, self.table)


def _array(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"expected {name} of dtype float32 or float64, got {array.dtype}")
    return array


def pack(
    cell: str,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    *,
    backward: bool = True,
) -> Weights:
    """Copies the parameters of one direction of one layer into the layout of the kernels.

    Shapes: weight_ih (G*H, I), weight_hh (G*H, H), biases (G*H,) or None; torch's names and gate
    order. The result is a snapshot: later changes of the arrays do not reach it.

    Args:
        cell: a name out of `cells()`.
        backward: also pack the transposed copies that `scan_backward` needs (twice the memory).
    """
    arrays = [
        None if a is None else np.ascontiguousarray(_array(name, a))
        for name, a in (
            ("weight_ih", weight_ih),
            ("weight_hh", weight_hh),
            ("bias_ih", bias_ih),
            ("bias_hh", bias_hh),
        )
    ]
    w_ih, w_hh, b_ih, b_hh = arrays
    if w_ih is None or w_hh is None:
        raise ValueError(f"[{cell}] expected weight_ih and weight_hh, got None")
    return _core.pack(cell, w_ih, w_hh, b_ih, b_hh, backward)


def _states(states: Sequence[Array] | None) -> list[Array]:
    if states is None:
        return []
    if isinstance(states, np.ndarray):
        raise TypeError("expected states as a tuple of arrays (B, H), got one array")
    return [np.ascontiguousarray(s) for s in states]


def _run_scan(
    weights: Weights,
    x: Array | Lookup,
    states: Sequence[Array] | None,
    lengths: ArrayLike | None,
    resets: ArrayLike | None,
    reverse: bool,
    out: Array | None,
    save: bool,
) -> tuple[Array, States, _core.Saved | None]:
    tokens = None
    if isinstance(x, Lookup):
        tokens, x = (_indices(x.tokens), x.table) if x.pays else (None, x.gather())
    x = np.asarray(x)
    if x.ndim != (3 if tokens is None else 2):
        raise ValueError(f"[{weights.cell}] expected x of shape (T, B, I), got {x.shape}")
    steps, batch = x.shape[:2] if tokens is None else tokens.shape
    hidden, dtype = weights.hidden_size, weights.dtype
    y = np.empty((steps, batch, hidden), dtype) if out is None else out
    final = tuple(np.empty((batch, hidden), dtype) for _ in range(weights.state_count))
    saved = _core.forward(
        weights,
        x,
        tokens,
        y,
        _states(states),
        final,
        _lengths(weights.cell, lengths),
        _resets(weights.cell, resets),
        reverse,
        save,
    )
    return y, final, saved


def _lengths(where: str, lengths: ArrayLike | None) -> NDArray[np.int64] | None:
    if lengths is None:
        return None
    array = np.asarray(lengths)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"[{where}] expected lengths of an integer dtype, got {array.dtype}")
    return np.ascontiguousarray(array, np.int64)


def _resets(where: str, resets: ArrayLike | None) -> NDArray[np.bool_] | None:
    if resets is None:
        return None
    array = np.asarray(resets)
    if array.dtype != np.bool_:
        raise TypeError(f"[{where}] expected resets of dtype bool, got {array.dtype}")
    return np.ascontiguousarray(array)


def scan(
    weights: Weights,
    x: Array | Lookup,
    states: Sequence[Array] | None = None,
    *,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
    out: Array | None = None,
) -> tuple[Array, States]:
    """Runs a cell over sequences.

    Shapes: x (T, B, I) with unit stride along I; states one (B, H) for each state of the cell;
    lengths (B,) integers 0 .. T; resets (T, B) bool; out and the result (T, B, H).

    Args:
        states: initial states, zeros if None.
        lengths: row b is live at t < lengths[b]. In any order; zeros allowed. The output is zero
            elsewhere, and the cost is that of the live tokens.
        resets: where true, the states that enter step t are set to zero.
        reverse: process each row from its last live step to its first.
        out: array to write the output into, for instance one half of a (T, B, 2*H) array.

    Returns:
        The output y and the final states: those after the last step that was processed.
    """
    y, final, _ = _run_scan(weights, x, states, lengths, resets, reverse, out, False)
    return y, final


def scan_vjp(
    weights: Weights,
    x: Array | Lookup,
    states: Sequence[Array] | None = None,
    *,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
    out: Array | None = None,
) -> tuple[Array, States, Saved]:
    """`scan` that also returns what `scan_backward` needs. Weights need `backward=True`."""
    y, final, saved = _run_scan(weights, x, states, lengths, resets, reverse, out, True)
    assert saved is not None
    return y, final, Saved(saved, weights, y.shape[:2], x if isinstance(x, Lookup) else None)


def scan_backward(
    saved: Saved,
    dy: Array | None,
    dstates: Sequence[Array] | None = None,
    *,
    grads: Sequence[Array | None],
    dx: Array | None = None,
    accumulate_dx: bool = False,
    needs_dx: bool = True,
) -> tuple[Array | None, States]:
    """Back-propagation through time.

    Shapes: dy (T, B, H); dstates one (B, H) a state; dx (T, B, I).

    Args:
        dy: gradient of the output, or None for zeros. Ignored where no token is.
        dstates: gradients of the final states, or None for zeros.
        grads: (dweight_ih, dweight_hh, dbias_ih, dbias_hh), added to; biases may be None.
        dx: array for the gradient of x (of the table of a Lookup); a new one if None.
        accumulate_dx: add to `dx` instead of overwriting it.
        needs_dx: False skips dx (the first layer of a network) and returns None for it.

    Returns:
        dx (zero where no token is) and the gradients of the initial states.
    """
    weights, lookup = saved.weights, saved.lookup
    steps, batch = saved.shape
    dinitial = tuple(
        np.empty((batch, weights.hidden_size), weights.dtype) for _ in range(weights.state_count)
    )
    if not needs_dx:
        dx = None
    elif dx is None:
        if accumulate_dx:
            raise ValueError(f"[{weights.cell}] expected dx with accumulate_dx=True, got None")
        shape = (steps, batch, weights.input_size) if lookup is None else lookup.table.shape
        dx = np.empty(shape, weights.dtype)
    gathered = None
    if lookup is not None and dx is not None and not lookup.pays:
        gathered = np.empty((steps, batch, weights.input_size), weights.dtype)
    dweight_ih, dweight_hh, dbias_ih, dbias_hh = grads
    if dweight_ih is None or dweight_hh is None:
        raise ValueError(f"[{weights.cell}] expected dweight_ih and dweight_hh, got None")
    _core.backward(
        saved._core,
        dy,
        _states(dstates),
        dinitial,
        dx if gathered is None else gathered,
        accumulate_dx and gathered is None,
        dweight_ih,
        dweight_hh,
        dbias_ih,
        dbias_hh,
    )
    if lookup is not None and dx is not None and gathered is not None:
        if not accumulate_dx:
            dx[...] = 0
        embedding_backward(lookup.tokens, gathered, dweight=dx)
    return dx, dinitial


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x weight^T + bias. Shapes: x (..., I), weight (O, I), bias (O,), y (..., O)."""
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"[linear] expected x of shape (..., I) and weight of shape (O, I), "
            f"got {x.shape} and {weight.shape}"
        )
    y = np.empty((*x.shape[:-1], weight.shape[0]), x.dtype)
    _core.linear(_rows("linear", "x", x), weight, bias, _rows("linear", "y", y))
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
    dx = np.empty(x.shape, x.dtype) if needs_dx else None
    _core.linear_backward(
        _rows("linear_backward", "x", x),
        weight,
        _rows("linear_backward", "dy", dy),
        None if dx is None else _rows("linear_backward", "dx", dx),
        dweight,
        dbias,
    )
    return dx


def _rows(where: str, name: str, array: Array) -> Array:
    """(..., W) as (N, W) without a copy."""
    if not array.flags.c_contiguous:
        raise ValueError(
            f"[{where}] expected {name} to be C-contiguous; pass numpy.ascontiguousarray({name})"
        )
    width = array.shape[-1]
    return array.reshape(array.size // width if width else 0, width)


def linear_cross_entropy(
    x: Array, weight: Array, bias: Array | None, targets: ArrayLike
) -> Array:
    """Cross-entropy of softmax(x weight^T + bias), fused: only a block of logits exists at a time.

    Shapes: x (N, H), weight (V, H), bias (V,) or None, targets (N,) integers; negative targets
    are ignored (loss 0). Returns the losses (N,) in nats.
    """
    losses = np.empty(x.shape[:1], x.dtype)
    _core.cross_entropy(x, weight, bias, _indices(targets), losses, 1.0, None, None, None)
    return losses


def linear_cross_entropy_vjp(
    x: Array, weight: Array, bias: Array | None, targets: ArrayLike, scale: float
) -> tuple[Array, Array, Array, Array | None]:
    """`linear_cross_entropy` with the gradients of scale * sum(losses), in one pass.

    Returns:
        losses (N,), dx (N, H), dweight (V, H), dbias (V,) or None; all new arrays.
    """
    losses = np.empty(x.shape[:1], x.dtype)
    dx, dweight = np.empty_like(x), np.zeros_like(weight)
    dbias = None if bias is None else np.zeros_like(bias)
    _core.cross_entropy(x, weight, bias, _indices(targets), losses, scale, dx, dweight, dbias)
    return losses, dx, dweight, dbias


def _indices(values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"expected indices of an integer dtype, got {array.dtype}")
    return np.ascontiguousarray(array, np.int64)


def embedding(indices: ArrayLike, weight: Array) -> Array:
    """Rows of weight (V, E) at integer indices (...): an array (..., E)."""
    index = _indices(indices)
    out = np.empty((index.size, weight.shape[-1]), weight.dtype)
    _core.embedding(index.reshape(-1), weight, out)
    return out.reshape(*index.shape, weight.shape[-1])


def embedding_backward(indices: ArrayLike, dy: Array, *, dweight: Array) -> None:
    """Pullback of `embedding`: adds dy (..., E) to dweight (V, E) at rows `indices` (...)."""
    index = _indices(indices)
    if dy.shape[:-1] != index.shape:
        raise ValueError(
            f"[embedding_backward] expected dy of shape (..., E) for indices {index.shape}, "
            f"got {dy.shape}"
        )
    _core.embedding_backward(
        index.reshape(-1), _rows("embedding_backward", "dy", dy), dweight
    )


def dropout(x: Array, p: float, *, seed: int, offset: int = 0) -> Array:
    """x with each element zeroed with probability p and the others divided by 1 - p.

    Element i is decided by (seed, offset + i) alone, whatever the thread count; the same call on
    dy is the pullback. Source: Srivastava et al. 2014; random bits from Philox4x32-10.
    """
    out = np.empty(x.shape, x.dtype)
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


def adam_step(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    grad_scale: float = 1.0,
) -> None:
    """One step of Adam, or of AdamW with decoupled=True, in place on 1-D arrays (P,).

    `step` counts from 1; grads are multiplied by grad_scale first. Source: Kingma & Ba 2015,
    Loshchilov & Hutter 2019; the same arithmetic as torch.optim.
    """
    _core.adam_step(
        params, grads, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, grad_scale
    )


def sgd_step(
    params: Array,
    grads: Array,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float = 1.0,
) -> None:
    """One step of SGD in place on 1-D arrays (P,); velocity may be None without momentum."""
    _core.sgd_step(params, grads, velocity, lr, momentum, nesterov, weight_decay, grad_scale)


def global_norm(flat: Array) -> float:
    """Euclidean norm of a 1-D array, summed in float64 in one order for any thread count."""
    return _core.global_norm(flat)


def set_num_threads(count: int) -> None:
    """Threads that a call may use, the calling one included. Results do not depend on it."""
    _core.set_num_threads(count)


def get_num_threads() -> int:
    """See `set_num_threads`; the default is UNROLLED_NUM_THREADS or the CPUs of the process."""
    return _core.get_num_threads()


def isa() -> str:
    """Instruction set in use: generic, avx2, avx512 or neon (UNROLLED_ISA forces one)."""
    return _core.isa()


def available_isas() -> tuple[str, ...]:
    """Instruction sets that this CPU can run, the slowest first."""
    return tuple(_core.available_isas())


def _force_isa(name: str) -> None:
    """Switches the instruction set, for tests. Weights packed under another one are refused."""
    _core.force_isa(name)


def trim_memory() -> int:
    """Gives scratch memory that is kept for later calls back to the system; returns its bytes."""
    return _core.trim_memory()


def measure_fma_peak(dtype: Any = np.float32) -> float:
    """Multiply-add peak of the threads in use, in FLOP/s."""
    return _core.measure_fma_peak(np.dtype(dtype) == np.float64)


def measure_bandwidth(nbytes: int) -> float:
    """Read bandwidth in bytes/s, each thread reading its own `nbytes` over and over."""
    return _core.measure_bandwidth(nbytes)
