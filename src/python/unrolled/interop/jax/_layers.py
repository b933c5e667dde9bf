"""The recurrent layers as functions of a tree of parameters."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ... import functional
from ..._extras import import_extra
from ._calls import Scan
from ._scan import run_scan
from ._stack import as_array, check, read_stack, read_states

jax: Any = import_extra("jax", "jax")


def lstm(
    params: Mapping[str, Any],
    x: Any,
    state: tuple[Any, Any] | None = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[Any, tuple[Any, Any]]:
    """Long short-term memory, one or more layers of it, in one direction or both.

        i, f, o = sigmoid(.), g = tanh(.)            each W x_t + b_ih + R h_{t-1} + b_hh
        c_t = f * c_{t-1} + i * g                    h_t = o * tanh(c_t)

    Shapes: T steps, B batch, I input, H hidden, G = 4 gates, L layers, D directions.
        x (T, B, I), y (T, B, D*H), h and c (L*D, B, H); without a batch (T, I), (T, D*H), (L*D, H).

    Args:
        params: arrays with torch's names, shapes and gate order: weight_ih_l0 (G*H, I),
            weight_hh_l0 (G*H, H), bias_ih_l0 and bias_hh_l0 (G*H,), or no biases; likewise _l1 and
            so on, which read the layer before them, (G*H, D*H), and with the suffix _reverse. The
            names tell how many layers and directions there are. With weight_hr_l0 (R, H) and its
            like the output is projected, as by torch's proj_size: y and h have R columns, and
            weight_hh_l0 is (G*H, R).
        x: float32 or float64, the dtype of all arrays.
        state: initial (h, c), zeros if None.
        lengths: integers (B,): row b is live at t < lengths[b]. Outputs are zero elsewhere.
        resets: bool (T, B): where true, a new sequence begins at this step.
        reverse: rows run from their last live step to their first (of layers in one direction).

    Returns:
        y, the output of the last layer, and (h, c), the final states of all.

    Raises:
        ValueError: shapes, names or lengths that do not fit. Lengths that are known to a compiled
            program alone are checked while it runs, and the error is JAX's.
        TypeError: another dtype, or arguments of another form.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    projected = isinstance(params, Mapping) and "weight_hr_l0" in params
    cell = "lstm_projected" if projected else "lstm"
    y, (h, c) = _layers("lstm", cell, params, x, state, lengths, resets, reverse)
    return y, (h, c)


def gru(
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Gated recurrent unit with the reset after the product, as torch's.

        r, z = sigmoid(.)                            n = tanh(W x_t + b_ih + r * (R h_{t-1} + b_hh))
        h_t = (1 - z) * n + z * h_{t-1}

    Shapes and arguments: see `lstm`; G = 3, and the state is h.

    Source: Cho et al. 2014; reset after the product as in cuDNN.
    """
    y, (h,) = _layers("gru", "gru", params, x, state, lengths, resets, reverse)
    return y, h


def rnn(
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Elman's simple recurrent network.

        h_t = act(W x_t + b_ih + R h_{t-1} + b_hh)   act = tanh or relu

    Shapes and arguments: see `lstm`; G = 1, and the state is h.

    Source: Elman 1990; two biases as torch's.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"[rnn] expected nonlinearity tanh or relu, got {nonlinearity!r}")
    y, (h,) = _layers("rnn", f"rnn_{nonlinearity}", params, x, state, lengths, resets, reverse)
    return y, h


def recurrent(
    cell: str | functional.CellInfo,
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A recurrent network of any cell, also of one made by `unrolled.cell`.

    ::

        y, h = recurrent(my_cell, params, x)         # inside of jit, grad, vmap, lax.scan

    The kernels of a cell of one's own are compiled when a program with it is first traced. After
    another definition of a cell under the same name, call `jax.clear_caches()`.

    Shapes and arguments: see `lstm`, with G, the number of the cell's gates.

    Args:
        cell: a cell made by `unrolled.cell`, or a name out of `unrolled.functional.cells()`.
        params: as `parameters` of `unrolled.Recurrent(cell, I, H, L)`: a cell whose units have
            parameters has weight_unit_l0 (P*H,), one without a recurrent product neither
            weight_hh_l0 nor bias_hh_l0, one that projects its output weight_hr_l0 (R, H).
        state: h, or a tuple of the cell's states in their order; zeros if None.

    Raises:
        ValueError: also an unknown cell.
        RuntimeError: there is no C++ compiler for a cell of one's own, or it fails.
    """
    name = functional.cell_info(cell).name
    y, final = _layers(name, name, params, x, state, lengths, resets, reverse)
    return y, final[0] if len(final) == 1 else final


def _layers(
    where: str,
    cell: str,
    params: Any,
    x: Any,
    state: Any,
    lengths: Any,
    resets: Any,
    reverse: bool,
) -> tuple[Any, tuple[Any, ...]]:
    jnp = jax.numpy
    x = as_array(where, "x", x)
    if x.ndim not in (2, 3):
        raise ValueError(f"[{where}] expected x of shape (T, B, I) or (T, I), got {x.shape}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"[{where}] expected x of dtype float32 or float64, got {x.dtype}")
    info = functional.cell_info(cell)
    stack = read_stack(where, info, params, x.shape[-1], x.dtype)
    if reverse and stack.directions == 2:
        raise ValueError(f"[{where}] expected reverse=False with both directions, got True")
    batch = x.shape[1:-1]  # () where there is none
    scans = len(stack.layers) * stack.directions
    states = read_states(where, info.states, state, (scans, *batch), stack.state_sizes, x.dtype)
    lengths = _lengths(where, lengths, x.shape[0], batch)
    resets = _resets(where, resets, (x.shape[0], *batch))
    if not batch:
        x, states = x[:, None], [s[:, None] for s in states]
        lengths = None if lengths is None else lengths[None]
        resets = None if resets is None else resets[:, None]

    final: list[list[Any]] = []
    for layer in stack.layers:
        outputs = []
        for direction, parameters in enumerate(layer):
            backwards = reverse or direction == 1
            here = _reverse_resets(resets, lengths) if backwards else resets
            scan = Scan(info, functional.isa(), backwards, lengths is not None, here is not None)
            initial = [s[len(final)] for s in states]
            spans = [span for span in (lengths, here) if span is not None]
            y, last = run_scan(scan, parameters, x, initial, spans)
            outputs.append(y)
            final.append(last)
        x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)
    joined = tuple(jnp.stack(arrays) for arrays in zip(*final, strict=True))
    if not batch:
        return x[:, 0], tuple(s[:, 0] for s in joined)
    return x, joined


def _lengths(where: str, lengths: Any, steps: int, batch: tuple[int, ...]) -> Any:
    if lengths is None:
        return None
    given = lengths if hasattr(lengths, "dtype") else np.asarray(lengths)
    if not jax.numpy.issubdtype(given.dtype, np.integer):
        raise TypeError(f"[{where}] expected lengths of integers, got {given.dtype}")
    if given.shape != batch:
        raise ValueError(f"[{where}] expected lengths of shape (B,) = {batch}, got {given.shape}")
    if isinstance(given, np.ndarray | np.generic):  # others may not be known yet
        for row, length in enumerate(np.ravel(given)):
            if not 0 <= length <= steps:
                raise ValueError(
                    f"[{where}] expected lengths in 0 .. T = {steps}, got {length} for row {row}"
                )
    array = jax.numpy.asarray(given)
    return array.astype(np.int64 if array.dtype.itemsize == 8 else np.int32)


def _resets(where: str, resets: Any, shape: tuple[int, ...]) -> Any:
    if resets is None:
        return None
    array = as_array(where, "resets", resets)
    check(where, "resets of shape (T, B)", array, shape, np.dtype(bool))
    return array


def _reverse_resets(resets: Any, lengths: Any) -> Any:
    """What keeps states from crossing a boundary the other way, as of `layers`.

    No state must go from step t into step t-1, so the reset belongs to step t-1; it counts only if
    step t is live, since nothing comes from a dead step.
    """
    if resets is None or resets.shape[0] == 0:
        return resets
    later = resets[1:]
    if lengths is not None:
        later &= jax.numpy.arange(1, len(resets))[:, None] < lengths
    return jax.numpy.concatenate([later, jax.numpy.zeros_like(resets[:1])])
