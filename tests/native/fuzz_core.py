"""The compiled module with arrays of any kind: it answers, or it raises, and never crashes.

Each call begins as a good one, so that it gets past the first check; then a few of its arguments
are exchanged for something else, or for each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from native.source import FLOATS, INTEGERS, MODEST, Source
from unrolled import _core

_SIZES = (0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 70)
_LIMITS = (math.inf, math.inf, math.inf, 0.3, 1e-30, 1e300, 0.0, math.nan)
_DTYPES = ("f4", "f8", "i8", "i4", "u8", "?", "f2", ">f4", "c8", "S3", "V0", "M8[s]", "O")


def fuzz_core(source: Source) -> None:
    """One to three calls, the later ones often on what the first ones made."""
    _core.set_num_threads(source.integer(1, 3))
    with suppress(ValueError, TypeError, MemoryError):
        source.choice(_CALLS)(source, source.choice(("f4", "f8")))


def _size(source: Source, least: int = 0) -> int:
    return max(source.choice(_SIZES), least)


def _values(source: Source, shape: tuple[int, ...], dtype: str, most: int = 0) -> np.ndarray:
    """A good array: floats with an odd one among them, integers below `most`, or booleans."""
    rng = np.random.default_rng(source.integer(0, 255))
    if dtype == "i8":
        array = rng.integers(0, max(most, 1), shape)
        odd: tuple[Any, ...] = tuple(n for n in INTEGERS if -(2**63) <= n < 2**63)
    elif dtype == "?":
        return rng.random(shape) < 0.3
    else:
        array = rng.standard_normal(shape).astype(dtype)
        odd = FLOATS
    if array.size and source.one_in(4):
        with np.errstate(over="ignore"):
            array.flat[source.integer(0, array.size - 1)] = source.choice(odd)
    return array


def _odd(source: Source, array: Any) -> Any:
    """Something else in the place of `array`."""
    if not isinstance(array, np.ndarray):
        return source.json()
    shape, dtype = array.shape, array.dtype
    kind = source.integer(0, 13)
    if kind == 0:
        return None
    if kind == 1:
        return source.json()
    if kind == 2:
        return np.zeros(shape, source.choice(_DTYPES))
    if kind == 3:  # another shape
        other = list(shape)
        if other and not source.one_in(3):
            axis = source.integer(0, len(other) - 1)
            other[axis] = max(0, other[axis] + source.integer(-2, 2))
        else:
            other = [_size(source) for _ in range(source.integer(0, 3))] + other[:1]
        return np.zeros(other, dtype)
    if kind == 4:  # memory of one element under the whole shape, which may be huge
        if source.one_in(2) and not MODEST:
            shape = tuple(source.choice((*shape, 2**20, 2**40)) for _ in shape)
        return as_strided(np.zeros(1, dtype), shape, (0,) * len(shape))
    if kind == 5:
        return array[(slice(None, None, -1),) * array.ndim]
    if kind == 6:
        return np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array
    if kind == 7:
        return np.asfortranarray(array)
    if kind == 8:
        return array.T
    if kind == 9:
        return np.broadcast_to(array, shape)  # read-only
    if kind == 10:  # not aligned
        raw = np.zeros(array.nbytes + 8, np.uint8)
        return raw[1 : 1 + array.nbytes].view(dtype).reshape(shape)
    if kind == 11:  # rows that are no whole number of elements apart
        record = np.zeros(shape[:-1], [("a", dtype, shape[-1:]), ("b", "i1", (3,))])
        return record["a"]
    if kind == 12:
        return array[None, None, None]
    return np.zeros((3,) * 6, dtype)


def _call(source: Source, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls with some arguments exchanged: a list stands for several arrays."""
    given = list(arguments)
    for _ in range(source.choice((0, 1, 1, 1, 2, 3))):
        i = source.integer(0, len(given) - 1)
        value = given[i]
        if isinstance(value, np.ndarray):
            same = [other for other in arguments if isinstance(other, np.ndarray)]
            given[i] = source.choice(same) if source.one_in(4) else _odd(source, value)
        elif isinstance(value, list) and value and not source.one_in(4):
            at = source.integer(0, len(value) - 1)
            value = list(value)
            if isinstance(value[at], np.ndarray):
                value[at] = _odd(source, value[at])
            elif isinstance(value[at], list):
                value[at] = [_odd(source, array) for array in value[at]]
            given[i] = value
        elif isinstance(value, bool):
            given[i] = not value
        elif isinstance(value, int):
            given[i] = source.choice(INTEGERS)
        elif isinstance(value, float):
            given[i] = source.choice(FLOATS)
        elif isinstance(value, str):
            given[i] = source.choice(("full", "bf16", "int8", "gru", "exp", source.text()))
        else:
            given[i] = source.json()
    return function(*given)


def _layer(source: Source, dtype: str) -> tuple[Any, int, int, Any, tuple[int, ...]]:
    """Packed weights, I, H, the cell and the sizes of its states."""
    cell = source.choice(_core.cells())
    inputs, hidden = _size(source, 1), _size(source, 1)
    rows = len(cell.gates) * hidden
    biases = [_values(source, (rows,), dtype) if source.one_in(2) else None for _ in range(2)]
    precision = source.choice(cell.precisions) if dtype == "f4" else "full"
    outputs = source.integer(1, hidden) if cell.projects else hidden
    recurrent = _values(source, (rows, outputs), dtype) if cell.recurrent else None
    projection = _values(source, (outputs, hidden), dtype) if cell.projects else None
    units = _values(source, (len(cell.units) * hidden,), dtype) if cell.units else None
    packed = _call(
        source, _core.pack, cell.name, _values(source, (rows, inputs), dtype), recurrent,
        biases[0], biases[1] if cell.recurrent else None, units, projection, precision,
        precision != "int8",
    )  # fmt: skip
    return packed, packed.input_size, packed.hidden_size, cell, packed.state_sizes


def _scan(source: Source, dtype: str) -> None:
    packed, inputs, hidden, cell, sizes = _layer(source, dtype)
    steps, batch = _size(source), _size(source)
    tokens, table = None, _values(source, (steps, batch, inputs), dtype)
    if source.one_in(3):
        rows = _size(source, 1)
        tokens = _values(source, (steps, batch), "i8", rows)
        table = _values(source, (rows, inputs), dtype)

    def state() -> list[np.ndarray]:
        return [_values(source, (batch, size), dtype) for size in sizes]

    def every(first: int) -> list[np.ndarray]:
        if source.one_in(2):
            return []
        return [_values(source, (steps, batch, size), dtype) for size in sizes[first:]]

    lengths = _values(source, (batch,), "i8", steps + 1) if source.one_in(2) else None
    resets = _values(source, (steps, batch), "?") if source.one_in(3) else None
    y = _values(source, (steps, batch, sizes[0]), dtype)
    saved = _call(
        source, _core.forward, packed, table, tokens, y,
        state() if source.one_in(2) else [], state(), every(1), every(0),
        lengths, resets, source.one_in(2), source.choice(_LIMITS),
        _values(source, (batch, sizes[0]), dtype) if source.one_in(3) else None,
        True, source.choice((0, 0, -1, 1, 3, *INTEGERS[:11])),
    )  # fmt: skip
    if saved is None:
        return
    for _ in range(2):
        gh = len(cell.gates) * hidden
        _call(
            source, _core.backward, saved, _values(source, (steps, batch, sizes[0]), dtype),
            every(1), state(), state(), np.zeros_like(table), source.one_in(2),
            _values(source, (gh, inputs), dtype),
            _values(source, (gh, sizes[0]), dtype) if cell.recurrent else None,
            _values(source, (gh,), dtype),
            _values(source, (gh,), dtype) if cell.recurrent else None,
            _values(source, (len(cell.units) * hidden,), dtype) if cell.units else None,
            _values(source, (sizes[0], hidden), dtype) if cell.projects else None,
            source.choice(_LIMITS), source.choice(_LIMITS),
        )  # fmt: skip


def _stream(source: Source, dtype: str) -> None:
    packed, inputs, _, _, sizes = _layer(source, dtype)
    batch = _size(source, 1)
    layers = [packed]
    if inputs == sizes[0] and source.one_in(2):
        layers.append(packed)
    states = [[np.zeros((batch, size), dtype) for size in sizes] for _ in layers]
    updates = source.choice(([], [0.5] * len(sizes), [1.0]))
    stream = _call(source, _core.Stream, layers, states, updates, source.choice(_LIMITS))
    for _ in range(2):
        x = _values(source, (batch, inputs), dtype)
        _call(source, stream.step, x, np.zeros((batch, sizes[0]), dtype))
        _core.set_num_threads(source.integer(1, 3))


def _head(source: Source, dtype: str) -> None:
    rows, inputs, outputs = _size(source), _size(source), _size(source)
    x, w = _values(source, (rows, inputs), dtype), _values(source, (outputs, inputs), dtype)
    b, y = _values(source, (outputs,), dtype), _values(source, (rows, outputs), dtype)
    _call(source, _core.linear, x, w, b, y)
    _call(source, _call(source, _core.PackedLinear, w, b).apply, x, y)
    _call(source, _core.linear_backward, x, w, y, np.zeros_like(x), w.copy(), b.copy())
    targets = _values(source, (rows,), "i8", outputs)
    losses = np.zeros(rows, dtype)
    gradients = (x.copy(), w.copy(), b.copy())
    _call(source, _core.cross_entropy, x, w, b, targets, losses, 1.0, 0.1, *gradients)
    _call(source, _core.embedding, targets, w, np.zeros((rows, inputs), dtype))
    _call(source, _core.embedding_backward, targets, x, w.copy())
    out = np.zeros(rows, np.int64)
    _call(source, _core.sample, y, np.full(rows, 0.3), 0.8, source.integer(0, 4), 0.9, out)


def _ctc(source: Source, dtype: str) -> None:
    T, B, V, S = (_size(source), _size(source), _size(source, 1), _size(source))
    logits = _values(source, (T, B, V), dtype)
    labels = 1 + _values(source, (B, S), "i8", most=max(V - 1, 1))
    frames, counts = (_values(source, (B,), "i8", most=n + 1) for n in (T, S))
    losses, dlogits = np.zeros(B, dtype), np.zeros_like(logits)
    _call(source, _core.ctc, logits, labels, frames, counts, 0, losses, dlogits)
    path, scores = np.zeros((T, B), np.int64), np.zeros(B)
    _call(source, _core.ctc_align, logits, labels, frames, counts, 0, path, scores)
    if B > 0:
        alone = (logits[:, :1], labels[:1], np.array([T]), np.array([S]), 0)
        ways, words = np.ones(S, np.int64), np.array([S][: S > 0], np.int64)
        _call(source, _core.ctc_align_words, *alone, ways, words, np.zeros(T, np.int64))
    beam = _core.CtcBeam(V, 0, source.integer(1, 5), source.integer(1, V))
    for _ in range(source.integer(0, 3)):
        _call(source, beam.step, _values(source, (source.integer(0, 3), V), dtype), None)
    count = len(beam.prefixes())
    _call(source, beam.step, _values(source, (1, V), dtype), _values(source, (count, V), "f8"))
    for prefix in beam.prefixes():
        beam.spell(prefix[0])


def _attention(source: Source, dtype: str) -> None:
    T, B, S, K, M = (_size(source) for _ in range(5))
    queries, keys = _values(source, (T, B, K), dtype), _values(source, (S, B, K), dtype)
    values = _values(source, (S, B, M), dtype)
    vector = _values(source, (K,), dtype) if source.one_in(2) else None
    ends, lengths = (_values(source, (B,), "i8", most=n + 1) for n in (S, T))
    memory = _call(source, _core.AttentionMemory, keys, values, vector, ends, True)
    weights, contexts = np.zeros((T, B, S), dtype), np.zeros((T, B, M), dtype)
    _call(source, memory.attend, queries, np.arange(B), lengths, contexts, weights)
    dvector = None if vector is None else vector.copy()
    _call(
        source, memory.pull, queries, lengths, weights, contexts, weights.copy(), source.one_in(2),
        queries.copy(), keys.copy(), values.copy(), dvector,
    )  # fmt: skip
    tokens, scores = np.zeros((B, 3), np.int64), np.zeros((B, 3))
    banned = np.sort(_values(source, (S, 2), "i8", most=max(B, K)), axis=0)
    _call(source, _core.best_tokens, _values(source, (B, K), dtype), banned, tokens, scores)


def _steps(source: Source, least: int, count: int) -> tuple[int, ...]:
    """Sizes of windows in places: small numbers, with an odd one now and then."""
    odd = INTEGERS[:8] if MODEST else INTEGERS
    return tuple(
        source.choice(odd) if source.one_in(16) else source.integer(least, 3) for _ in range(count)
    )


def _conv(source: Source, dtype: str) -> None:
    N, H, W, h, w = (source.integer(0, most) for most in (2, 9, 9, 3, 3))
    groups, depth = source.choice((1, 1, 2, 5, 17)), source.choice((1, 1, 3, 16))
    O = groups * source.choice((1, 1, 2, 9))  # noqa: E741
    places = (N, source.integer(0, 5), source.integer(0, 5), O)
    activation = source.choice(("none", "relu", "relu6"))
    windows = _steps(source, 1, 2) + _steps(source, -2, 2)
    shapes = ((N, H, W, groups * depth), (O, depth, h, w), (O,), places)
    x, weight, b, y = (_values(source, shape, dtype) for shape in shapes)
    if source.one_in(2):
        packed = _call(source, _core.PackedConv, weight, b, groups)
        _call(source, packed.apply, x, y.copy(), y, windows, activation)
    else:
        _call(source, _core.conv2d, x, weight, b, y, windows, groups, activation)
    _call(
        source, _core.conv2d_backward, x, weight, y, y.copy(), np.zeros_like(x), weight.copy(),
        b.copy(), windows, groups, activation,
    )  # fmt: skip


def _pool(source: Source, dtype: str) -> None:
    N, C = source.integer(0, 2), _size(source)
    x, y = (
        _values(source, (N, source.integer(0, 9), source.integer(0, 9), C), dtype) for _ in range(2)
    )
    windows, kernel = _steps(source, 1, 2) + _steps(source, -2, 2), _steps(source, 1, 2)
    if source.one_in(2):
        _call(source, _core.max_pool, x, y, kernel, windows)
    _call(source, _core.max_pool_backward, x, y, y.copy(), np.zeros_like(x), kernel, windows)


def _norm(source: Source, dtype: str) -> None:
    x = _values(source, (_size(source) * source.choice((1, 1, 40)), _size(source)), dtype)
    mean, scale, shift = (_values(source, x.shape[1:], dtype) for _ in range(3))
    activation = source.choice(("none", "relu", "relu6"))
    y = np.zeros_like(x)
    _call(source, _core.moments, x, mean, scale.copy())
    _call(source, _core.normalise, x, mean, scale, shift, y, activation)
    _call(
        source, _core.normalise_backward, x, mean, scale, shift, y, x.copy(), mean.copy(),
        shift.copy(), y.copy(), activation, source.one_in(2),
    )  # fmt: skip


def _flat(source: Source, dtype: str) -> None:
    p, g, m, v = (_values(source, (_size(source) * 900 + 3,), dtype) for _ in range(4))
    if source.one_in(2):
        g, m, v = (np.zeros_like(p) for _ in range(3))
    _call(source, _core.adam_step, p, g, m, v, 0.1, 0.9, 0.99, 1e-8, 0.1, True, 3, 0.5)
    _call(source, _core.sgd_step, p, g, m, 0.1, 0.9, True, 0.1, 0.5)
    _call(source, _core.rmsprop_step, p, g, m, v, v.copy(), 0.1, 0.9, 1e-8, 0.9, 0.1, 0.5, 1.0)
    _call(source, _core.average_step, p, np.zeros_like(p), 0.5)
    _call(source, _core.global_norm, p)
    _call(source, _core.dropout, p, np.zeros_like(p), 0.3, 5, 7)
    _call(
        source,
        _core.apply_math,
        source.choice(("exp", "tanh", "sigmoid", "log1p")),
        p,
        np.zeros_like(p),
    )
    _call(source, _core.zero, p)


def _system(source: Source, dtype: str) -> None:
    odd = INTEGERS[:7] if MODEST else INTEGERS
    steps, batch = source.choice((3, 70, *odd)), source.choice((1, 5, *odd))
    sizes = [source.choice((1, 9, *odd)) for _ in range(2)]
    with suppress(ValueError, TypeError, MemoryError):
        bytes_of = _core.memory(
            "gru", *sizes, steps, batch, None, True, 0, "full", dtype == "f8",
            source.one_in(2), source.one_in(2),
        )  # fmt: skip
        assert min(bytes_of) >= 0, bytes_of
    with suppress(ValueError, TypeError, MemoryError):
        lent = _core.xla_sizes("gru", *sizes, steps, batch, True, dtype == "f8")
        assert min(lent) >= 0, lent
    with suppress(ValueError, TypeError):
        _core.load_cell(source.text())
    with suppress(ValueError, TypeError):
        _core.set_num_threads(source.choice(INTEGERS[6:]))
    with suppress(ValueError, TypeError):
        _core.force_isa(source.text())
    with suppress(ValueError, TypeError):
        _core.measure_bandwidth(source.choice([n for n in INTEGERS if not 4096 <= n <= 2**40]))
    _core.trim_memory()


_CALLS = (
    _scan,
    _scan,
    _scan,
    _stream,
    _head,
    _head,
    _ctc,
    _ctc,
    _attention,
    _attention,
    _flat,
    _conv,
    _conv,
    _pool,
    _norm,
    _system,
)
