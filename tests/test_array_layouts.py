"""Views of any shape and strides give the bits that their copies give, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Dims, make_problem, present
from tolerances import assert_same_bits
from unrolled import functional

# How a (T, B, width) array may lie in memory with unit stride along its rows: steps between the
# elements of T and B, which axis is outside, and room behind each row.
LAYOUTS = st.fixed_dictionaries(
    {
        "steps": st.tuples(st.sampled_from([1, -1, 2, -3]), st.sampled_from([1, -1, 2, -3])),
        "batch_first": st.booleans(),
        "room": st.integers(0, 5),
        "begin": st.integers(0, 5),
    }
)


def laid_out(
    array: np.ndarray, steps: tuple[int, int], batch_first: bool, room: int, begin: int
) -> np.ndarray:
    """A view equal to `array` whose memory is laid out like that, between NaNs."""
    sizes = [size * abs(step) for size, step in zip(array.shape, steps, strict=False)]
    outer = sizes[::-1] if batch_first else sizes
    raw = np.full((*outer, begin + array.shape[2] + room), np.nan, array.dtype)
    whole = raw.transpose(1, 0, 2) if batch_first else raw
    view = whole[:: steps[0], :: steps[1], begin : begin + array.shape[2]]
    view[...] = array
    assert view.shape == array.shape
    return view


@given(data=st.data())
def test_sequences(cell: str, isa: str, dtype: Any, data: st.DataObject) -> None:
    sizes = [data.draw(st.integers(least, 9)) for least in (0, 0, 1)]
    dims = Dims(*sizes, data.draw(st.integers(1, 20)))
    problem = make_problem(
        cell, dims, dtype, ragged=data.draw(st.booleans()), reverse=data.draw(st.booleans())
    )
    expected = problem.vjp()

    def view(array: np.ndarray) -> np.ndarray:
        return laid_out(array, **data.draw(LAYOUTS))

    x, out, dx = view(problem.x), view(np.zeros_like(problem.dy)), view(np.zeros_like(problem.x))
    y, states, saved = functional.scan_vjp(
        problem.pack(), x, problem.states, **problem.options, out=out
    )
    assert y is out
    grads = problem.zero_grads()
    dx, dstates = functional.scan_backward(
        saved, view(problem.dy), problem.dstates, grads=grads, dx=dx
    )
    got = {"y": y, "states": states, "dx": dx, "dstates": dstates, "grads": present(grads)}
    for name, value in got.items():
        assert_same_bits(value, expected[name], name)
    for array in (out, dx):  # nothing was written beside the rows
        base = array.base
        assert base is not None
        assert np.isnan(base).sum() == base.size - array.size


@given(data=st.data())
def test_one_sequence_for_the_whole_batch(cell: str, isa: str, data: st.DataObject) -> None:
    """A broadcast x, with strides of 0."""
    size = st.integers(1, 9)
    dims = Dims(*(data.draw(size) for _ in range(4)))
    problem = make_problem(cell, dims, np.float32)
    x = np.broadcast_to(problem.x[:, :1], problem.x.shape)
    assert_same_bits(problem.but(x=x).scan(), problem.but(x=x.copy()).scan())


@given(data=st.data())
def test_stream_steps(cell: str, isa: str, data: st.DataObject) -> None:
    size = st.integers(1, 9)
    batch, inputs, hidden = (data.draw(size) for _ in range(3))
    problem = make_problem(cell, Dims(1, batch, inputs, hidden), np.float32, states=False)
    expected, states = problem.scan()
    zeros = [np.zeros_like(state) for state in states]
    out = laid_out(np.zeros_like(expected), **data.draw(LAYOUTS))
    x = laid_out(problem.x, **data.draw(LAYOUTS))
    functional.Stream([problem.pack(backward=False)], [zeros]).step(x[0], out[0])
    assert_same_bits((out, tuple(zeros)), (expected, states))


RECORD = np.dtype([("values", np.float32, (5,)), ("flag", np.int8, (3,))])  # 23 bytes


@pytest.mark.parametrize("name", ["x", "out"])
def test_rows_between_elements_are_refused(name: str) -> None:
    """Rows whose distance is no whole number of elements: no stride can say where they are."""
    problem = make_problem("gru", Dims(4, 3, 5, 5), np.float32)
    arguments = {"x": problem.x, name: np.zeros((4, 3), RECORD)["values"]}
    with pytest.raises(ValueError, match=rf"\[gru\] expected {name} to be aligned .*\.copy\(\)"):
        functional.scan(problem.pack(), **arguments)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_elements_between_addresses_are_refused(kind: type) -> None:
    odd = np.zeros(8 * 10 + 1, np.uint8)[1:].view(kind)
    with pytest.raises(ValueError, match=r"\[zero\] expected flat to be aligned"):
        functional.zero(odd)
    functional.zero(odd.copy())


def test_elements_of_no_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"\[zero\] expected flat of dtype float32 or float64"):
        functional.zero(np.zeros(3, []))


def test_a_linear_layer_without_inputs() -> None:
    """Its output is its bias, and so is all of its gradient."""
    x, weight = np.zeros((4, 0), np.float32), np.zeros((3, 0), np.float32)
    bias, dbias = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    np.testing.assert_array_equal(functional.linear(x, weight, bias), np.tile(bias, (4, 1)))
    functional.linear_backward(
        x, weight, np.ones((4, 3), np.float32), dweight=weight.copy(), dbias=dbias
    )
    np.testing.assert_array_equal(dbias, [5.0, 5.0, 5.0])
