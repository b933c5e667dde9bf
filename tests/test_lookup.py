"""A looked-up input gives what the gathered input gives, whichever way it is computed.

With at most T*B rows in the table the input product runs once for each row (`pays`), else once for
each token; both ways are compared with the scan of the gathered x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem, present
from tolerances import assert_close, assert_same_bits
from unrolled import functional

T, B, I, H = 24, 25, 7, 9  # noqa: E741 - more tokens than a chunk, more rows than a block
ROWS = {"pays": 11, "one_row": 1, "as_many": T * B, "gathers": T * B + 1}
MODES = {
    "plain": {},
    "ragged": {"ragged": True, "resets": True},
    "reverse": {"ragged": True, "reverse": True},
}


def looked_up(
    cell: str, dtype: type, rows: int, **mode: Any
) -> tuple[Problem, functional.Lookup, np.ndarray]:
    """The problem with the gathered x, the lookup, and its tokens."""
    rng = np.random.default_rng(rows)
    table = rng.standard_normal((rows, I)).astype(dtype)
    tokens = rng.integers(0, rows, (T, B))
    problem = make_problem(cell, Dims(T, B, I, H), dtype, **mode).but(x=table[tokens])
    lookup = functional.Lookup(tokens, table)
    assert lookup.pays == (rows <= T * B)
    assert lookup.shape == problem.x.shape
    assert lookup.dtype == dtype
    return problem, lookup, tokens


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_lookup_is_gather(cell: str, isa: str, dtype: type, rows: int, mode: dict) -> None:
    problem, lookup, tokens = looked_up(cell, dtype, rows, **mode)
    assert_same_bits(lookup.gather(), problem.x)
    expected, truth = problem.vjp(), problem.reference()
    dtable = np.zeros(lookup.table.shape)
    np.add.at(dtable, tokens, truth["dx"])
    got = problem.but(x=lookup).vjp()
    for key in ("y", "states", "dstates"):
        assert_same_bits(got[key], expected[key], key)
    assert_same_bits(problem.but(x=lookup).scan(), problem.scan())
    roundings = problem.gradient_roundings + T * B
    assert_close(got["dx"], dtable, K=roundings, kind="gradient", what="dtable")
    for i, (gradient, exact) in enumerate(zip(got["grads"], truth["grads"], strict=True)):
        assert_close(gradient, exact, K=roundings, kind="gradient", what=f"grads[{i}]")


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_where_the_gradient_goes(isa: str, dtype: type, rows: int) -> None:
    problem, lookup, _ = looked_up("gru", dtype, rows, ragged=True)
    expected = problem.but(x=lookup).vjp()
    *_, saved = functional.scan_vjp(problem.pack(), lookup, problem.states, **problem.options)

    def back(**options: Any) -> Any:
        grads = problem.zero_grads()
        dx, _ = functional.scan_backward(saved, problem.dy, problem.dstates, grads=grads, **options)
        assert_same_bits(present(grads), expected["grads"])
        return dx

    assert_same_bits(back(), expected["dx"])
    assert back(needs_dx=False) is None
    into = np.full_like(lookup.table, 5.0)
    assert back(dx=into) is into
    assert_same_bits(into, expected["dx"])
    into = np.full_like(lookup.table, 5.0)
    back(dx=into, accumulate_dx=True)
    roundings = problem.gradient_roundings + T * B
    assert_close(into, expected["dx"].astype(np.float64) + 5.0, K=roundings, kind="gradient")


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_tokens_of_dead_steps_are_ignored(isa: str, rows: int) -> None:
    """Also those that no table has, as -1 for padding."""
    problem, lookup, tokens = looked_up("lstm", np.float32, rows, ragged=True)
    expected = problem.but(x=lookup).vjp()
    for fill in (-1, rows, 2**40):
        padded = tokens.copy()
        padded[np.arange(T)[:, None] >= problem.options["lengths"]] = fill
        got = problem.but(x=functional.Lookup(padded, lookup.table)).vjp()
        assert_same_bits(tuple(got.values()), tuple(expected.values()), f"padding {fill}")


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_bad_lookups(rows: int) -> None:
    problem, lookup, tokens = looked_up("gru", np.float32, rows)
    weights = problem.pack()
    for bad in (-1, rows):
        wrong = tokens.copy()
        wrong[3, 2] = bad
        with pytest.raises(
            ValueError, match=rf"^\[\w+\] expected \w+ in 0 \.\. {rows - 1}, got {bad}"
        ):
            functional.scan(weights, functional.Lookup(wrong, lookup.table))
    cases = [
        (tokens * 1.0, lookup.table),
        (tokens[0], lookup.table),
        (tokens, lookup.table[:, :-1].copy()),
        (tokens, lookup.table[0]),
        (tokens, lookup.table.astype(np.float64)),
        (tokens, np.asfortranarray(np.vstack([lookup.table] * 2))),
    ]
    for case in cases:
        with pytest.raises((ValueError, TypeError), match=r"^\[\w+\] expected .*"):
            functional.scan(weights, functional.Lookup(*case))


def test_threads_do_not_change_bits(cell: str, isa: str, dtype: type, threads: None) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((64, 40)).astype(dtype)
    lookup = functional.Lookup(rng.integers(0, 64, (8, 24)), table)
    problem = make_problem(cell, Dims(8, 24, 40, 120), dtype, ragged=True).but(x=lookup)
    functional.set_num_threads(1)
    expected = tuple(problem.vjp().values())
    for count in (2, 3):
        functional.set_num_threads(count)
        assert_same_bits(tuple(problem.vjp().values()), expected, f"{count} threads")
