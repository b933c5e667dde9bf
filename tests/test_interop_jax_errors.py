"""What `interop.jax` refuses says what was expected and what came, traced or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems import make_problem
from unrolled import functional

jax = pytest.importorskip("jax", reason='jax is not installed: pip install "unrolled[jax]"')

from jax_problems import fast, tree  # noqa: E402 - needs jax

PROBLEM = make_problem("lstm", (5, 4, 3, 6), np.float32)
X, PARAMS = PROBLEM.x, tree(PROBLEM)
STATE = tuple(s[None] for s in PROBLEM.states)


def without(*names: str) -> dict[str, Any]:
    return {key: w for key, w in PARAMS.items() if key not in names}


SHAPES: dict[str, tuple[Callable[[], Any], str]] = {
    "x of one axis": (
        lambda: fast.lstm(PARAMS, X[0, 0]),
        r"\[lstm\] expected x of shape \(T, B, I\) or \(T, I\), got \(3,\)",
    ),
    "x of another width": (
        lambda: fast.lstm(PARAMS, X[:, :, :2]),
        r"\[lstm\] expected weight_ih_l0 of shape \(G\*H, I\) = \(24, 2\), got \(24, 3\)",
    ),
    "another cell's parameters": (
        lambda: fast.gru(PARAMS, X),
        r"\[gru\] expected weight_ih_l0 of shape \(G\*H, I\) = \(18, 3\), got \(24, 3\)",
    ),
    "a parameter is missing": (
        lambda: fast.lstm(without("weight_hh_l0"), X),
        r"missing: weight_hh_l0, unknown: none",
    ),
    "a parameter of another layer": (
        lambda: fast.lstm({**PARAMS, "weight_ih_l2": PARAMS["weight_ih_l0"]}, X),
        r"for 1 layer\(s\) and 1 direction\(s\).*missing: none, unknown: weight_ih_l2",
    ),
    "half a second direction": (
        lambda: fast.lstm({**PARAMS, "weight_ih_l0_reverse": PARAMS["weight_ih_l0"]}, X),
        r"missing: weight_hh_l0_reverse",
    ),
    "a vector for a matrix": (
        lambda: fast.lstm({**PARAMS, "weight_hh_l0": X[0, 0]}, X),
        r"expected weight_hh_l0 of shape \(G\*H, H\) with H >= 1, got \(3,\)",
    ),
    "a state of another batch": (
        lambda: fast.lstm(PARAMS, X, (STATE[0], STATE[1][:, :3])),
        r"expected state c of shape \(layers\*directions, B, H\) = \(1, 4, 6\), got \(1, 3, 6\)",
    ),
    "lengths of another batch": (
        lambda: fast.lstm(PARAMS, X, lengths=[1, 2]),
        r"\[lstm\] expected lengths of shape \(B,\) = \(4,\), got \(2,\)",
    ),
    "a length beyond the steps": (
        lambda: fast.lstm(PARAMS, X, lengths=[1, 6, 2, 3]),
        r"\[lstm\] expected lengths in 0 .. T = 5, got 6 for row 1",
    ),
    "a length of 64 bits": (
        lambda: fast.lstm(PARAMS, X, lengths=np.array([1, 2**32 + 1, 2, 3])),
        r"\[lstm\] expected lengths in 0 .. T = 5, got 4294967297 for row 1",
    ),
    "resets of another shape": (
        lambda: fast.lstm(PARAMS, X, resets=np.zeros((4, 5), bool)),
        r"\[lstm\] expected resets of shape \(T, B\) = \(5, 4\), got \(4, 5\)",
    ),
    "reverse of both directions": (
        lambda: fast.lstm({f"{k}{end}": w for k, w in PARAMS.items() for end in ("", "_reverse")},
                          X, reverse=True),
        r"\[lstm\] expected reverse=False with both directions, got True",
    ),
    "another nonlinearity": (
        lambda: fast.rnn(PARAMS, X, nonlinearity="gelu"),  # type: ignore[arg-type]
        r"\[rnn\] expected nonlinearity tanh or relu, got 'gelu'",
    ),
}  # fmt: skip
TYPES: dict[str, tuple[Callable[[], Any], str]] = {
    "integers": (
        lambda: fast.lstm(PARAMS, X.astype(np.int32)),
        r"\[lstm\] expected x of dtype float32 or float64, got int32",
    ),
    "halves": (
        lambda: fast.lstm(PARAMS, X.astype(np.float16)),
        r"\[lstm\] expected x of dtype float32 or float64, got float16",
    ),
    "a parameter of another dtype": (
        lambda: fast.lstm({**PARAMS, "bias_hh_l0": PARAMS["bias_hh_l0"].astype(np.float16)}, X),
        r"\[lstm\] expected bias_hh_l0 of dtype float32, got float16",
    ),
    "a list of parameters": (
        lambda: fast.lstm(list(PARAMS.values()), X),  # type: ignore[arg-type]
        r"\[lstm\] expected params as a dict of arrays .*, got list",
    ),
    "one array for two states": (
        lambda: fast.lstm(PARAMS, X, STATE[0]),  # type: ignore[arg-type]
        r"\[lstm\] expected state as a tuple \(h, c\), got ndarray",
    ),
    "lengths that are no integers": (
        lambda: fast.lstm(PARAMS, X, lengths=np.ones(4)),
        r"\[lstm\] expected lengths of integers, got float64",
    ),
    "resets that are no bool": (
        lambda: fast.lstm(PARAMS, X, resets=np.ones((5, 4), np.int32)),
        r"\[lstm\] expected resets of dtype bool, got int32",
    ),
}


@pytest.mark.parametrize("what", SHAPES)
def test_shapes(what: str) -> None:
    call, text = SHAPES[what]
    with pytest.raises(ValueError, match=text):
        call()
    with pytest.raises(ValueError, match=text):
        jax.jit(call)()


@pytest.mark.parametrize("what", TYPES)
def test_types(what: str) -> None:
    call, text = TYPES[what]
    with pytest.raises(TypeError, match=text):
        call()


@pytest.mark.parametrize("lengths", [[1, 6, 2, 3], [1, -1, 2, 3]])
def test_lengths_that_the_program_alone_knows(lengths: list[int]) -> None:
    run = jax.jit(lambda lengths: fast.lstm(PARAMS, X, lengths=lengths)[0])
    with pytest.raises(Exception, match=rf"\[lstm\] expected lengths in 0 .. T = 5, got {lengths[1]} for row 1"):  # fmt: skip  # noqa: E501
        jax.block_until_ready(run(np.array(lengths)))
    jax.block_until_ready(run(np.array([1, 5, 0, 3])))  # and goes on


@pytest.mark.parametrize("version", [(1, 0), (0, 0)])
def test_an_interface_that_is_not_known(version: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected version 0\.1 to 0\.3 of XLA's .*, got "):
        functional.xla_handlers(*version)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\[gru\] expected I >= 1 and H >= 1, got 0 and 3"):
        functional.xla_sizes("gru", 0, 3, 2, 2, backward=True, dtype=np.float32)
    with pytest.raises(MemoryError):
        functional.xla_sizes("gru", 2**30, 2**30, 2**30, 2, backward=True, dtype=np.float32)
