"""The compiled forward pass computes what the specification says: every cell, ISA and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Dims, Problem, make_problem
from tolerances import assert_close
from unrolled import functional, reference

MODES = {
    "plain": {},
    "no_states": {"states": False},
    "reverse": {"reverse": True},
    "ragged": {"ragged": True},
    "resets": {"resets": True},
    "no_bias": {"biases": (False, False)},
    "bias_ih": {"biases": (True, False)},
    "bias_hh": {"biases": (False, True)},
    "all": {"ragged": True, "resets": True, "reverse": True},
}


def check(problem: Problem) -> None:
    y, states = problem.scan()
    expected = problem.reference()
    roundings = problem.forward_roundings
    assert y.dtype == problem.x.dtype
    assert_close(y, expected["y"], K=roundings, kind="forward", what="y")
    assert len(states) == len(expected["states"])
    for got, truth, name in zip(
        states, expected["states"], functional.cell_info(problem.cell).states, strict=True
    ):
        assert_close(got, truth, K=roundings, kind="forward", what=f"final {name}")


def test_the_specification_names_the_same_cells() -> None:
    def described(cell: Any) -> tuple[object, ...]:
        return cell.gates, cell.states, cell.units, cell.recurrent, cell.clips, cell.functions

    compiled = {info.name: described(info) for info in functional.cells()}
    assert compiled == {spec.name: described(spec) for spec in reference.CELLS.values()}


def test_sizes(cell: str, isa: str, dtype: type, dims: Dims) -> None:
    check(make_problem(cell, dims, dtype))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dims", [Dims(5, 6, 7, 9), Dims(9, 5, 3, 17), Dims(23, 33, 5, 6)], ids=str)
def test_modes(cell: str, isa: str, dtype: type, dims: Dims, mode: dict) -> None:
    check(make_problem(cell, dims, dtype, **mode))


@given(data=st.data())
def test_any_size_and_mode(cell: str, isa: str, dtype: type, data: st.DataObject) -> None:
    size = st.integers(1, 20)
    dims = data.draw(st.tuples(st.integers(0, 6), size, size, st.integers(1, 40)))
    flags = st.fixed_dictionaries({k: st.booleans() for k in ("ragged", "resets", "reverse")})
    check(make_problem(cell, dims, dtype, **data.draw(flags)))


def test_carried_state_equals_one_long_run(cell: str, isa: str, dtype: type) -> None:
    whole = make_problem(cell, Dims(7, 3, 5, 11), dtype)
    weights = whole.pack(backward=False)
    y, final = functional.scan(weights, whole.x, whole.states)
    states, pieces = whole.states, []
    for start, stop in ((0, 3), (3, 3), (3, 4), (4, 7)):
        piece, states = functional.scan(weights, whole.x[start:stop], states)
        pieces.append(piece)
    assert_close(np.concatenate(pieces), y, K=whole.forward_roundings, kind="forward")
    for got, truth in zip(states, final, strict=True):
        assert_close(got, truth, K=whole.forward_roundings, kind="forward")


def test_the_input_keeps_its_bits(cell: str, isa: str) -> None:
    problem = make_problem(cell, Dims(4, 3, 5, 6), np.float32, ragged=True, resets=True)
    before = [a.copy() for a in problem.arrays]
    problem.vjp()
    for array, copy in zip(problem.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_packed_weights_are_a_copy(cell: str, isa: str) -> None:
    problem = make_problem(cell, Dims(2, 2, 3, 4), np.float32)
    weights = problem.pack()
    before, _ = functional.scan(weights, problem.x)
    given = [weight for weight in problem.weights if weight is not None]
    for weight in given:
        weight[...] = 9.0
    after, _ = functional.scan(weights, problem.x)
    np.testing.assert_array_equal(after, before)
    assert (weights.cell, weights.input_size, weights.hidden_size) == (cell, 3, 4)
    assert weights.dtype == np.float32
    assert weights.isa == isa
    assert weights.nbytes >= sum(w.nbytes for w in given)


def test_the_result_of_vjp_is_the_result_of_scan(cell: str, isa: str, dtype: type) -> None:
    """Inference and training differ in what they keep, not in what they compute."""
    problem = make_problem(cell, Dims(5, 4, 6, 13), dtype, ragged=True, resets=True)
    y, states = problem.scan()
    trained = problem.vjp()
    assert_close(trained["y"], y, K=problem.forward_roundings, kind="forward")
    for got, truth in zip(trained["states"], states, strict=True):
        assert_close(got, truth, K=problem.forward_roundings, kind="forward")


@pytest.mark.parametrize("reverse", [False, True])
def test_output_into_half_of_a_wider_array(cell: str, isa: str, dtype: type, reverse: bool) -> None:
    """As a bidirectional layer does: each direction writes its half of (T, B, 2H)."""
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype, ragged=True, reverse=reverse)
    expected, _ = problem.scan()
    width = expected.shape[2]
    wide = np.full((4, 3, 2 * width), 8.0, dtype)
    half = wide[:, :, width:]
    y, _ = functional.scan(problem.pack(), problem.x, problem.states, out=half, **problem.options)
    assert y is half or np.shares_memory(y, half)
    np.testing.assert_array_equal(half, expected)
    assert (wide[:, :, :width] == 8.0).all()


def test_strided_input(cell: str, isa: str, dtype: type) -> None:
    """x may have any strides over T and B, as a (B, T, I) batch or a slice of a wider array has."""
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype)
    weights = problem.pack()
    expected, _ = functional.scan(weights, problem.x, problem.states)
    batch_first = np.ascontiguousarray(problem.x.transpose(1, 0, 2)).transpose(1, 0, 2)
    wider = np.zeros((8, 3, 11), dtype)[::2, :, 3:8]
    wider[...] = problem.x
    backwards = np.ascontiguousarray(problem.x[::-1])[::-1]
    for x in (batch_first, wider, backwards):
        y, _ = functional.scan(weights, x, problem.states)
        np.testing.assert_array_equal(y, expected)
    for same in (problem.x[:1], problem.x[:, :1], problem.x[:1, :1]):
        repeated = np.broadcast_to(same, problem.x.shape)  # strides of zero
        y, _ = functional.scan(weights, repeated, problem.states)
        expected, _ = functional.scan(weights, np.ascontiguousarray(repeated), problem.states)
        np.testing.assert_array_equal(y, expected)
