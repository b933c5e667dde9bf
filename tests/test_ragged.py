"""A ragged batch equals each of its rows alone, bit for bit, whatever lies in the padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Dims, Problem, make_problem
from tolerances import assert_close, assert_same_bits


def check_rows(problem: Problem) -> None:
    whole = problem.vjp()
    inference = problem.scan()
    lengths = problem.options["lengths"]
    sums = [np.zeros(g.shape) for g in whole["grads"]]
    for b, length in enumerate(lengths):
        row = problem.row(b)
        alone = row.vjp()
        assert_same_bits(whole["y"][:length, b], alone["y"][:, 0], f"y of row {b}")
        assert_same_bits(whole["dx"][:length, b], alone["dx"][:, 0], f"dx of row {b}")
        for key in ("states", "dstates"):
            picked = tuple(s[b : b + 1] for s in whole[key])
            assert_same_bits(picked, alone[key], f"{key} of row {b}")
        y, states = row.scan()
        assert_same_bits(inference[0][:length, b], y[:, 0], f"inference y of row {b}")
        assert_same_bits(tuple(s[b : b + 1] for s in inference[1]), states, f"states of row {b}")
        assert not whole["y"][length:, b].any()
        assert not whole["dx"][length:, b].any()
        for total, gradient in zip(sums, alone["grads"], strict=True):
            total += gradient
    for total, gradient in zip(sums, whole["grads"], strict=True):
        assert_close(gradient, total, K=problem.gradient_roundings, kind="gradient", what="weights")


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(
    "dims",
    [
        Dims(6, 9, 5, 7),
        Dims(3, 23, 17, 33),
        Dims(13, 2, 3, 4),
        Dims(2, 70, 40, 122),
        Dims(20, 40, 3, 5),
    ],
    ids=str,
)
def test_batch_equals_rows(cell: str, isa: str, dtype: type, dims: Dims, reverse: bool) -> None:
    resets = dims.T > 3
    check_rows(make_problem(cell, dims, dtype, ragged=True, reverse=reverse, resets=resets))


@given(data=st.data())
def test_any_lengths(cell: str, isa: str, data: st.DataObject) -> None:
    size = st.integers(1, 12)
    steps, batch = data.draw(size), data.draw(size)
    dims = Dims(steps, batch, data.draw(size), data.draw(st.integers(1, 20)))
    lengths = data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    problem = make_problem(cell, dims, np.float32)
    check_rows(
        problem.but(options={"lengths": np.array(lengths), "reverse": data.draw(st.booleans())})
    )


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_padding_does_not_matter(cell: str, isa: str, dtype: type, reverse: bool) -> None:
    """Not even NaN, and for no result: weight gradients included."""
    problem = make_problem(cell, Dims(6, 9, 5, 7), dtype, ragged=True, resets=True, reverse=reverse)
    expected = problem.vjp()
    dead = np.arange(6)[:, None] >= problem.options["lengths"]
    for fill in (np.nan, np.inf, 1e30, -0.0):
        x, dy = problem.x.copy(), problem.dy.copy()
        x[dead] = fill
        dy[dead] = fill
        resets = problem.options["resets"] ^ dead
        dirty = problem.but(x=x, dy=dy, options={**problem.options, "resets": resets})
        assert_same_bits(tuple(dirty.vjp().values()), tuple(expected.values()), f"padding {fill}")


def test_more_padding_does_not_matter(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(5, 6, 4, 9), dtype, ragged=True)
    lengths = problem.options["lengths"]
    expected = problem.vjp()
    pad = ((0, 4), (0, 0), (0, 0))
    padded = problem.but(
        x=np.pad(problem.x, pad), dy=np.pad(problem.dy, pad), options={"lengths": lengths}
    ).vjp()
    for key in ("states", "dstates", "grads"):
        assert_same_bits(padded[key], expected[key], key)
    for key in ("y", "dx"):
        assert_same_bits(padded[key][:5], expected[key], key)
        assert not padded[key][5:].any()


def test_all_rows_empty(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(3, 4, 5, 6), dtype)
    result = problem.but(options={"lengths": np.zeros(4, np.int64)}).vjp()
    assert not result["y"].any()
    assert not result["dx"].any()
    assert not any(g.any() for g in result["grads"])
    assert_same_bits(result["states"], problem.states)
    assert_same_bits(result["dstates"], problem.dstates)


def test_full_lengths_equal_no_lengths(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(4, 5, 6, 7), dtype)
    full = problem.but(options={"lengths": np.full(5, 4)})
    assert_same_bits(tuple(full.vjp().values()), tuple(problem.vjp().values()))


def test_order_of_rows_does_not_matter(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(5, 8, 4, 9), dtype, ragged=True)
    order = np.random.default_rng(3).permutation(8)
    shuffled = problem.but(
        x=np.ascontiguousarray(problem.x[:, order]),
        dy=np.ascontiguousarray(problem.dy[:, order]),
        states=tuple(s[order] for s in problem.states),
        dstates=tuple(d[order] for d in problem.dstates),
        options={"lengths": problem.options["lengths"][order]},
    ).vjp()
    expected = problem.vjp()
    for key in ("y", "dx"):
        assert_same_bits(shuffled[key], expected[key][:, order], key)
    for key in ("states", "dstates"):
        assert_same_bits(shuffled[key], tuple(s[order] for s in expected[key]), key)


@pytest.mark.parametrize("dtype_of_lengths", [np.int32, np.int64, np.uint8])
def test_lengths_of_any_integer_type(dtype_of_lengths: type) -> None:
    problem = make_problem("lstm", Dims(4, 3, 2, 5), np.float32, ragged=True)
    lengths = problem.options["lengths"].astype(dtype_of_lengths)
    expected = tuple(problem.vjp().values())
    assert_same_bits(tuple(problem.but(options={"lengths": lengths}).vjp().values()), expected)
