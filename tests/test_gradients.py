"""The compiled BPTT is the transpose of the compiled forward pass, and follows its contract."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Dims, Problem, make_problem, present
from test_cells import MODES
from tolerances import assert_close, assert_same_bits, assert_slope, slope_along
from unrolled import functional


def check(problem: Problem) -> None:
    got, expected = problem.vjp(), problem.reference()
    roundings = problem.gradient_roundings
    names = functional.cell_info(problem.cell).states
    assert got["dx"].dtype == problem.x.dtype
    assert_close(got["dx"], expected["dx"], K=roundings, kind="gradient", what="dx")
    for name, a, e in zip(names, got["dstates"], expected["dstates"], strict=True):
        assert_close(a, e, K=roundings, kind="gradient", what=f"d{name}0")
    for i, (a, e) in enumerate(zip(got["grads"], expected["grads"], strict=True)):
        assert_close(a, e, K=roundings, kind="gradient", what=f"grads[{i}]")


def test_sizes(cell: str, isa: str, dtype: type, dims: Dims) -> None:
    check(make_problem(cell, dims, dtype))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dims", [Dims(5, 6, 7, 9), Dims(9, 5, 3, 17), Dims(23, 33, 5, 6)], ids=str)
def test_modes(cell: str, isa: str, dtype: type, dims: Dims, mode: dict) -> None:
    check(make_problem(cell, dims, dtype, **mode))


def test_hidden_beyond_a_block(isa: str, dtype: type) -> None:
    """More hidden units than the depth of a block of the recurrent product, 1024."""
    check(make_problem("gru", Dims(2, 3, 2, 1031), dtype))


@given(data=st.data())
def test_any_size_and_mode(cell: str, isa: str, dtype: type, data: st.DataObject) -> None:
    size = st.integers(1, 20)
    dims = data.draw(st.tuples(st.integers(0, 6), size, size, st.integers(1, 40)))
    flags = st.fixed_dictionaries({k: st.booleans() for k in ("ragged", "resets", "reverse")})
    check(make_problem(cell, dims, dtype, **data.draw(flags)))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_adjoint_identity(cell: str, isa: str, mode: dict, rng: np.random.Generator) -> None:
    """<J v, w> = <v, J^T w>, with J v by central differences of the compiled forward pass.

    One direction v at a time: in x, in each initial state, in each parameter; w is (dy, dstates).
    """
    problem = make_problem(cell, Dims(6, 5, 4, 9), np.float64, **mode)
    result = problem.vjp()
    inputs = [problem.x, *(problem.states or ()), *present(problem.weights)]
    outputs = [result["dx"], *(result["dstates"] if problem.states else ()), *result["grads"]]
    live = np.arange(6)[:, None] < problem.options.get("lengths", np.full(5, 6))

    def value() -> float:
        y, states = problem.scan()
        weighted = (problem.dy * y * live[..., None]).sum()
        return float(
            weighted + sum((d * s).sum() for d, s in zip(problem.dstates, states, strict=True))
        )

    for i, (array, gradient) in enumerate(zip(inputs, outputs, strict=True)):
        v = rng.standard_normal(array.shape)
        assert_slope(
            float((gradient * v).sum()),
            slope_along(value, array, v),
            float(np.abs(gradient * v).sum()),
            f"input {i}",
        )


def test_weight_gradients_are_added(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype)
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states)
    once = problem.zero_grads()
    functional.scan_backward(saved, problem.dy, problem.dstates, grads=once)
    added = tuple(None if g is None else np.full_like(g, 3.0) for g in once)
    functional.scan_backward(saved, problem.dy, problem.dstates, grads=added)
    for name, a, g in zip(functional.PARAMETERS, added, once, strict=True):
        if g is not None:
            exact = g.astype(np.float64) + 3.0
            assert_close(a, exact, K=problem.gradient_roundings, kind="gradient", what=name)


def test_gradients_into_slices_of_one_flat_buffer(cell: str, isa: str, dtype: type) -> None:
    """As the layers keep them; the elements beside each slice stay as they were."""
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype)
    expected = problem.vjp()["grads"]
    flat = np.zeros(sum(g.size + 1 for g in expected), dtype)
    views, guards, start = [], [], 0
    for weight in problem.weights:
        if weight is None:
            views.append(None)
            continue
        views.append(flat[start : start + weight.size].reshape(weight.shape))
        guards.append(start + weight.size)
        start += weight.size + 1
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states)
    functional.scan_backward(saved, problem.dy, problem.dstates, grads=tuple(views))
    assert_same_bits(present(views), expected)
    assert not flat[guards].any()


def test_several_pullbacks_of_one_forward_pass(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(5, 4, 6, 9), dtype, ragged=True, resets=True)
    expected = problem.vjp()
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states, **problem.options)
    assert saved.nbytes > 0
    for _ in range(3):
        grads = problem.zero_grads()
        dx, dstates = functional.scan_backward(saved, problem.dy, problem.dstates, grads=grads)
        assert_same_bits(
            (dx, dstates, present(grads)), (expected["dx"], expected["dstates"], expected["grads"])
        )
    zeros = np.zeros_like(problem.dy)
    dx, dstates = functional.scan_backward(saved, zeros, None, grads=problem.zero_grads())
    assert not dx.any()
    assert not any(d.any() for d in dstates)


def test_absent_gradients_are_zeros(cell: str, isa: str, dtype: type) -> None:
    """dy=None: only the final states matter; dstates=None: only y does."""
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype)
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states)
    zero_dy = np.zeros_like(problem.dy)
    zero_dstates = tuple(np.zeros_like(d) for d in problem.dstates)
    for absent, explicit in (
        ((None, problem.dstates), (zero_dy, problem.dstates)),
        ((problem.dy, None), (problem.dy, zero_dstates)),
    ):
        grads, same = problem.zero_grads(), problem.zero_grads()
        got = functional.scan_backward(saved, *absent, grads=grads)
        expected = functional.scan_backward(saved, *explicit, grads=same)
        np.testing.assert_array_equal(got[0], expected[0])
        for a, e in zip(present((*got[1], *grads)), present((*expected[1], *same)), strict=True):
            np.testing.assert_array_equal(a, e)


def test_where_dx_goes(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype, ragged=True)
    expected = problem.vjp()
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states, **problem.options)

    def back(**options: object) -> tuple:
        grads = problem.zero_grads()
        result = functional.scan_backward(
            saved, problem.dy, problem.dstates, grads=grads, **options
        )
        assert_same_bits(present(grads), expected["grads"])
        return result

    none, dstates = back(needs_dx=False)
    assert none is None
    assert_same_bits(dstates, expected["dstates"])

    into = np.full_like(problem.x, 5.0)
    dx, _ = back(dx=into)
    assert dx is into
    assert_same_bits(into, expected["dx"])  # dead positions are overwritten with zeros too

    into = np.full_like(problem.x, 5.0)
    back(dx=into, accumulate_dx=True)
    assert_close(
        into, expected["dx"].astype(np.float64) + 5.0, K=problem.gradient_roundings, kind="gradient"
    )


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_arrays_in_batch_first_memory(cell: str, isa: str, dtype: type, ragged: bool) -> None:
    """x, dy, out and dx may be transposed views of (B, T, width) arrays."""
    problem = make_problem(cell, Dims(4, 3, 5, 7), dtype, ragged=ragged)
    expected = problem.vjp()

    def view(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(1, 0, 2)).transpose(1, 0, 2)

    out, dx = view(np.full_like(problem.dy, 6.0)), view(np.full_like(problem.x, 6.0))
    *_, saved = functional.scan_vjp(
        problem.pack(), view(problem.x), problem.states, out=out, **problem.options
    )
    grads = problem.zero_grads()
    functional.scan_backward(saved, view(problem.dy), problem.dstates, grads=grads, dx=dx)
    assert_same_bits((out, dx, present(grads)), (expected["y"], expected["dx"], expected["grads"]))


def test_gradients_do_not_need_a_final_copy(cell: str, isa: str) -> None:
    """dy may be half of a wider array, as a bidirectional layer hands it down."""
    problem = make_problem(cell, Dims(4, 3, 5, 7), np.float32)
    expected = problem.vjp()
    width = problem.dy.shape[2]
    wide = np.zeros((4, 3, 2 * width), np.float32)
    wide[:, :, width:] = problem.dy
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states)
    grads = problem.zero_grads()
    dx, dstates = functional.scan_backward(saved, wide[:, :, width:], problem.dstates, grads=grads)
    assert_same_bits(
        (dx, dstates, present(grads)), (expected["dx"], expected["dstates"], expected["grads"])
    )


def test_dy_at_dead_steps_is_ignored(cell: str, isa: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(5, 4, 3, 6), dtype, ragged=True)
    expected = problem.vjp()
    dirty = problem.dy.copy()
    dirty[np.arange(5)[:, None] >= problem.options["lengths"]] = np.nan
    assert_same_bits(tuple(problem.but(dy=dirty).vjp().values()), tuple(expected.values()))


def test_a_reset_cuts_the_gradient(cell: str, isa: str, dtype: type) -> None:
    resets = np.zeros((5, 2), bool)
    resets[3, 0] = True
    problem = make_problem(cell, Dims(5, 2, 3, 60), dtype).but(options={"resets": resets})
    dy = problem.dy.copy()
    dy[:3] = 0.0
    result = problem.but(dy=dy).vjp()
    assert not result["dx"][:3, 0].any()
    assert result["dx"][:3, 1].any()
    for gradient in result["dstates"]:
        assert not gradient[0].any()
        assert gradient[1].any()
