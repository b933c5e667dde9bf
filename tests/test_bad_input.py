"""Bad input of every kind gets a clear error; odd but good input gets the right numbers.

An error names the function, what was expected with its shape letters, and what came:
`[lstm] expected x of shape (T, B, I) = (4, 3, 5), got (4, 3, 6)`. Where the cell is known it stands
for the function.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem
from tolerances import assert_same_bits
from unrolled import functional

F32, F64 = np.float32, np.float64
T, B, I, H = 4, 3, 5, 6  # noqa: E741


@pytest.fixture
def problem() -> Problem:
    return make_problem("lstm", Dims(T, B, I, H), F32, ragged=True)


def zeros(*shape: int, dtype: Any = F32) -> np.ndarray:
    return np.zeros(shape, dtype)


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


def refused(where: str, call: Callable[[], object], *words: str) -> None:
    """The call raises ValueError or TypeError, names the function and says each of the words."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(f"[{where}] expected "), text
    assert ", got " in text or "; pass " in text, text
    assert str(2**63) not in text, f"an inner limit shows: {text}"
    for word in words:
        assert word in text, f"{word!r} not in: {text}"


PACK = {
    "cell": (("nonsense",), {}, ["nonsense", "lstm", "gru"]),
    "hh_not_square": ((None, None, zeros(4 * H, H + 1)), {}, ["weight_ih", "(G*H, I)"]),
    "hh_rows": ((None, None, zeros(3 * H, H)), {}, ["weight_hh", "(G*H, H)"]),
    "ih_rows": ((None, zeros(3 * H, I)), {}, ["weight_ih", "(G*H, I)"]),
    "ih_ndim": ((None, zeros(4 * H)), {}, ["weight_ih", "(G*H, I)"]),
    "bias_ih": ((), {"bias_ih": zeros(4 * H + 1)}, ["bias_ih", "(G*H,)", str(4 * H)]),
    "bias_hh": ((), {"bias_hh": zeros(4 * H, 1)}, ["bias_hh", "(G*H,)", str(4 * H)]),
    "two_dtypes": ((None, None, zeros(4 * H, H, dtype=F64)), {}, ["float32", "float64"]),
    "bias_dtype": ((), {"bias_ih": zeros(4 * H, dtype=F64)}, ["float32", "float64"]),
    "half": ((None, zeros(4 * H, I, dtype=np.float16)), {}, ["float32", "float64", "float16"]),
    "integers": ((None, zeros(4 * H, I, dtype=np.int64)), {}, ["int64"]),
    "list": ((None, [[1.0]]), {}, ["weight_ih", "(G*H, I)", "(1, 1)"]),
}


@pytest.mark.parametrize("case", PACK.values(), ids=PACK)
def test_pack(case: tuple) -> None:
    args, options, words = case
    default = ("lstm", zeros(4 * H, I), zeros(4 * H, H))
    given = tuple(
        args[i] if i < len(args) and args[i] is not None else default[i] for i in range(3)
    )
    where = given[0] if given[0] == "lstm" else "cell"
    refused(where, lambda: functional.pack(*given, **options), *words)


SCAN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "x_input": ({"x": zeros(T, B, I + 1)}, ["x", "(T, B, I)", f"({T}, {B}, {I + 1})"]),
    "x_ndim": ({"x": zeros(B, I)}, ["x", "(T, B, I)", f"({B}, {I})"]),
    "x_dtype": ({"x": zeros(T, B, I, dtype=F64)}, ["x", "float32", "float64"]),
    "x_integers": ({"x": zeros(T, B, I, dtype=np.int32)}, ["x", "float32", "int32"]),
    "x_big_endian": ({"x": zeros(T, B, I, dtype=">f4")}, ["x", "float32"]),
    "x_last_stride": ({"x": zeros(T, B, 2 * I)[..., ::2]}, ["x", "stride"]),
    "x_reversed": ({"x": zeros(T, B, I)[..., ::-1]}, ["x", "stride"]),
    "x_list": ({"x": [[[0.0] * I]]}, ["x", "float32", "float64"]),
    "x_none": ({"x": None}, ["x", "(T, B, I)"]),
    "one_state": ({"states": (zeros(B, H),)}, ["2 state", "got 1"]),
    "three_states": ({"states": (zeros(B, H),) * 3}, ["2 state", "got 3"]),
    "state_shape": ({"states": (zeros(B, H), zeros(B, H + 1))}, ["c", "(B, H)", f"({B}, {H})"]),
    "state_batch": ({"states": (zeros(B + 1, H), zeros(B, H))}, ["h", "(B, H)", f"({B}, {H})"]),
    "state_dtype": ({"states": (zeros(B, H, dtype=F64), zeros(B, H))}, ["h", "float64"]),
    "lengths_shape": ({"lengths": np.array([1, 2])}, ["lengths", "(B,)"]),
    "lengths_long": ({"lengths": np.array([1, T + 1, 0])}, ["lengths", str(T), str(T + 1)]),
    "lengths_negative": ({"lengths": np.array([1, 2, -1])}, ["lengths", "-1"]),
    "lengths_huge": ({"lengths": np.array([1, 2, 2**62])}, ["lengths", str(2**62)]),
    "lengths_uint64": ({"lengths": np.array([1, 2, 2**64 - 1], np.uint64)}, ["lengths"]),
    "lengths_float": ({"lengths": np.array([1.0, 2.0, 3.0])}, ["lengths", "float64"]),
    "lengths_bool": ({"lengths": np.array([True, False, True])}, ["lengths", "bool"]),
    "resets_shape": ({"resets": zeros(B, T, dtype=bool)}, ["resets", "(T, B)"]),
    "resets_integers": ({"resets": zeros(T, B, dtype=np.int64)}, ["resets", "bool"]),
    "out_shape": ({"out": zeros(T, B, H + 1)}, ["out", "(T, B, H)"]),
    "out_dtype": ({"out": zeros(T, B, H, dtype=F64)}, ["out", "float32", "float64"]),
    "out_stride": ({"out": zeros(T, B, 2 * H)[..., ::2]}, ["out", "stride"]),
    "out_read_only": ({"out": frozen(zeros(T, B, H))}, ["out", "writ"]),
}


@pytest.mark.parametrize("function", ["scan", "scan_vjp"])
@pytest.mark.parametrize("case", SCAN.values(), ids=SCAN)
def test_scan(problem: Problem, function: str, case: tuple) -> None:
    changes, words = case
    arguments = {"x": problem.x, "states": problem.states, **changes}
    call = getattr(functional, function)
    weights = problem.pack()
    refused("lstm", lambda: call(weights, **arguments), *words)


def test_scan_vjp_needs_backward_weights(problem: Problem) -> None:
    weights = problem.pack(backward=False)
    functional.scan(weights, problem.x)
    refused("lstm", lambda: functional.scan_vjp(weights, problem.x), "backward=True")


GRADS = [(4 * H, I), (4 * H, H), (4 * H,), (4 * H,)]
BACKWARD: dict[str, tuple[Callable[[list, dict], None], list[str]]] = {
    "dy_shape": (lambda g, a: a.update(dy=zeros(T, B, H + 1)), ["dy", "(T, B, H)"]),
    "dy_dtype": (lambda g, a: a.update(dy=zeros(T, B, H, dtype=F64)), ["dy", "float64"]),
    "dy_stride": (lambda g, a: a.update(dy=zeros(T, B, 2 * H)[..., ::2]), ["dy", "stride"]),
    "dstates_count": (lambda g, a: a.update(dstates=(zeros(B, H),)), ["2 state", "got 1"]),
    "dstates_shape": (lambda g, a: a.update(dstates=(zeros(B, H), zeros(H, B))), ["(B, H)"]),
    "dx_shape": (lambda g, a: a.update(dx=zeros(T, B, H)), ["dx", "(T, B, I)"]),
    "dx_dtype": (lambda g, a: a.update(dx=zeros(T, B, I, dtype=F64)), ["dx", "float64"]),
    "dx_read_only": (lambda g, a: a.update(dx=frozen(zeros(T, B, I))), ["dx", "writ"]),
    "grads_count": (lambda g, a: g.pop(), ["grads", "4"]),
    "grads_shape": (lambda g, a: g.__setitem__(0, zeros(4 * H, I + 1)), ["weight_ih", "(G*H, I)"]),
    "grads_bias": (lambda g, a: g.__setitem__(2, zeros(3 * H)), ["bias_ih", "(G*H,)"]),
    "grads_dtype": (lambda g, a: g.__setitem__(1, zeros(4 * H, H, dtype=F64)), ["weight_hh"]),
    "grads_strides": (
        lambda g, a: g.__setitem__(1, zeros(H, 4 * H).T), ["weight_hh", "contiguous"]
    ),
    "grads_read_only": (lambda g, a: g.__setitem__(3, frozen(zeros(4 * H))), ["bias_hh", "writ"]),
    "grads_missing": (lambda g, a: g.__setitem__(0, None), ["weight_ih", "None"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BACKWARD.values(), ids=BACKWARD)
def test_scan_backward(problem: Problem, case: tuple) -> None:
    change, words = case
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states, **problem.options)
    grads, arguments = [zeros(*shape) for shape in GRADS], {"dy": problem.dy, "dstates": None}
    change(grads, arguments)
    refused(
        "lstm",
        lambda: functional.scan_backward(saved, grads=tuple(grads), **arguments),
        *words,
    )


def head_cases() -> dict[str, tuple[str, Callable[[], object], list[str]]]:
    f, n = functional, 3
    x, w, b, t = zeros(n, I), zeros(7, I), zeros(7), np.array([0, 6, -1])
    adam = {
        "lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.0,
        "decoupled": True, "step": 1,
    }  # fmt: skip
    sgd = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}

    def back(dweight: np.ndarray, dbias: np.ndarray | None = None, dy: Any = None) -> Any:
        dy = zeros(n, 7) if dy is None else dy
        return f.linear_backward(x, w, dy, dweight=dweight, dbias=dbias)

    def adam_with(size: int = 4, **changes: Any) -> Any:
        arrays = {"params": zeros(4), "grads": zeros(4), "m": zeros(4), "v": zeros(size)}
        return f.adam_step(**{**arrays, **adam, **changes})

    ce, ce_vjp = f.linear_cross_entropy, f.linear_cross_entropy_vjp
    return {
        "linear_x": ("linear", lambda: f.linear(zeros(n, I + 1), w), ["x", "I"]),
        "linear_dtype": ("linear", lambda: f.linear(x.astype(F64), w), ["float32", "float64"]),
        "linear_strides": ("linear", lambda: f.linear(zeros(I, n).T, w), ["x", "contiguous"]),
        "linear_weight": ("linear", lambda: f.linear(x, zeros(I)), ["weight", "(O, I)"]),
        "linear_bias": ("linear", lambda: f.linear(x, w, zeros(8)), ["bias", "(O,)"]),
        "backward_dy": ("linear_backward", lambda: back(zeros(7, I), dy=zeros(n, 8)), ["dy"]),
        "backward_dweight": ("linear_backward", lambda: back(zeros(I, 7)), ["dweight", "(O, I)"]),
        "backward_frozen": ("linear_backward", lambda: back(frozen(w)), ["dweight", "writ"]),
        "backward_strides": ("linear_backward", lambda: back(zeros(I, 7).T), ["dweight"]),
        "backward_dbias": ("linear_backward", lambda: back(zeros(7, I), zeros(8)), ["dbias"]),
        "loss_x": ("linear_cross_entropy", lambda: ce(zeros(n, I + 1), w, b, t), ["x"]),
        "loss_bias": ("linear_cross_entropy", lambda: ce(x, w, zeros(6), t), ["bias", "(V,)"]),
        "loss_targets": ("linear_cross_entropy", lambda: ce(x, w, b, t[:2]), ["targets", "(N,)"]),
        "loss_float": ("linear_cross_entropy", lambda: ce(x, w, b, t * 1.0), ["targets", "int64"]),
        "loss_range": ("linear_cross_entropy", lambda: ce(x, w, b, t + 1), ["targets", "7"]),
        "vjp_range": (
            "linear_cross_entropy",
            lambda: ce_vjp(x, w, b, t + 1, 1.0),
            ["targets", "7"],
        ),
        "embedding_high": ("embedding", lambda: f.embedding(np.array([0, 7]), w), ["indices", "7"]),
        "embedding_low": ("embedding", lambda: f.embedding(np.array([-1]), w), ["indices", "-1"]),
        "embedding_float": ("embedding", lambda: f.embedding(zeros(2), w), ["indices", "int64"]),
        "embedding_weight": ("embedding", lambda: f.embedding(t[:1], b), ["weight", "(V, E)"]),
        "scatter_range": (
            "embedding_backward",
            lambda: f.embedding_backward(np.array([0, 7, 1]), x, dweight=zeros(7, I)),
            ["indices", "7"],
        ),
        "scatter_dy": (
            "embedding_backward",
            lambda: f.embedding_backward(np.array([0, 1]), x, dweight=zeros(7, I)),
            ["dy"],
        ),
        "scatter_frozen": (
            "embedding_backward",
            lambda: f.embedding_backward(np.array([0, 1, 2]), x, dweight=frozen(w)),
            ["dweight", "writ"],
        ),
        "dropout_p": ("dropout", lambda: f.dropout(x, 1.5, seed=0), ["p", "1.5"]),
        "dropout_negative": ("dropout", lambda: f.dropout(x, -0.1, seed=0), ["p", "-0.1"]),
        "dropout_nan": ("dropout", lambda: f.dropout(x, float("nan"), seed=0), ["p", "nan"]),
        "dropout_integers": ("dropout", lambda: f.dropout(t, 0.5, seed=0), ["x", "int64"]),
        "norm_ndim": ("global_norm", lambda: f.global_norm(x), ["(P,)", "2"]),
        "zero_ndim": ("zero", lambda: f.zero(x), ["(P,)", "2"]),
        "zero_frozen": ("zero", lambda: f.zero(frozen(zeros(4))), ["flat", "writ"]),
        "adam_size": ("adam_step", lambda: adam_with(5), ["v", "4", "5"]),
        "adam_dtype": ("adam_step", lambda: adam_with(m=zeros(4, dtype=F64)), ["m", "float64"]),
        "adam_frozen": (
            "adam_step",
            lambda: adam_with(params=frozen(zeros(4))),
            ["params", "writ"],
        ),
        "adam_step": ("adam_step", lambda: adam_with(step=0), ["step", "0"]),
        "sgd_size": ("sgd_step", lambda: f.sgd_step(b, zeros(6), b.copy(), **sgd), ["grads", "7"]),
        "sgd_velocity": ("sgd_step", lambda: f.sgd_step(b, b.copy(), None, **sgd), ["velocity"]),
        "sample_u": ("sample", lambda: f.sample(x, zeros(2, dtype=F64)), ["u", "(B,)"]),
        "sample_one": ("sample", lambda: f.sample(x, np.array([0.5, 1.0, 0.1])), ["u", "[0, 1)"]),
        "sample_heat": ("sample", lambda: f.sample(x, np.zeros(n), temperature=-1.0), ["temp"]),
        "sample_k": ("sample", lambda: f.sample(x, np.zeros(n), top_k=-1), ["top_k", "-1"]),
        "sample_p": ("sample", lambda: f.sample(x, np.zeros(n), top_p=0.0), ["top_p", "0"]),
        "sample_p_above_1": ("sample", lambda: f.sample(x, np.zeros(n), top_p=1.5), ["top_p"]),
        "sample_empty": (
            "sample",
            lambda: f.sample(zeros(n, 0), np.zeros(n)),
            ["logits", "(B, V)"],
        ),
    }


HEAD = head_cases()


@pytest.mark.parametrize("case", HEAD.values(), ids=HEAD)
def test_head(case: tuple) -> None:
    function, call, words = case
    refused(function, call, *words)


def test_read_only_inputs_are_fine(problem: Problem) -> None:
    expected = tuple(problem.vjp().values())
    read_only = problem.but(
        x=frozen(problem.x),
        states=tuple(frozen(s) for s in problem.states),
        weights=tuple(None if w is None else frozen(w) for w in problem.weights),
        dy=frozen(problem.dy),
        dstates=tuple(frozen(d) for d in problem.dstates),
        options={
            k: frozen(v) if isinstance(v, np.ndarray) else v for k, v in problem.options.items()
        },
    )
    assert_same_bits(tuple(read_only.vjp().values()), expected)


def test_a_refused_call_changes_nothing(problem: Problem) -> None:
    out = np.full((T, B, H), 7.0, F32)
    with pytest.raises(ValueError):
        functional.scan(problem.pack(), problem.x, out=out, lengths=np.array([0, 1, T + 1]))
    assert (out == 7.0).all()
    *_, saved = functional.scan_vjp(problem.pack(), problem.x)
    grads = [zeros(*shape) for shape in GRADS]
    with pytest.raises(ValueError):
        functional.scan_backward(saved, problem.dy, grads=(*grads[:3], zeros(1)))
    assert not any(g.any() for g in grads)


def test_unaligned_arrays(cell: str, isa: str) -> None:
    """An array that starts at an odd address is refused or computed, never a crash."""
    problem = make_problem(cell, Dims(T, B, I, H), F32)
    raw = np.zeros(problem.x.nbytes + 1, np.uint8)
    odd = np.frombuffer(raw.data, np.uint8)[1:].view(F32).reshape(problem.x.shape)
    odd[...] = problem.x
    assert not odd.flags.aligned
    expected, _ = functional.scan(problem.pack(), problem.x)
    try:
        y, _ = functional.scan(problem.pack(), odd)
    except ValueError as error:
        assert re.search(r"x\b.*align", str(error))  # noqa: PT017 - either outcome is right
    else:
        assert_same_bits(y, expected)


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0), (0, 0)])
def test_empty(cell: str, isa: str, dtype: type, steps: int, batch: int) -> None:
    problem = make_problem(cell, Dims(steps, batch, I, H), dtype)
    result = problem.vjp()
    assert result["y"].shape == problem.dy.shape
    assert result["dx"].shape == (steps, batch, I)
    assert_same_bits(result["states"], problem.states)
    assert_same_bits(result["dstates"], problem.dstates)
    assert not any(g.any() for g in result["grads"])
    assert functional.scan(problem.pack(), problem.x)[0].shape == problem.dy.shape


@pytest.mark.parametrize("where", ["x", "h", "last"])
def test_nan_stays_in_its_row(cell: str, isa: str, dtype: type, where: str) -> None:
    problem = make_problem(cell, Dims(5, 7, 4, 9), dtype)
    clean = problem.vjp()
    x, states = problem.x.copy(), tuple(s.copy() for s in problem.states)
    start = 0
    if where == "x":
        start, x[2, 3, 1] = 2, np.nan
    else:
        states[0 if where == "h" else -1][3, :] = np.nan
    dirty = problem.but(x=x, states=states)
    result = dirty.vjp()
    others = [0, 1, 2, 4, 5, 6]
    for y in (result["y"], dirty.scan()[0]):
        assert np.isnan(y[start:, 3]).all()
        assert_same_bits(y[:start, 3], clean["y"][:start, 3])
        assert_same_bits(y[:, others], clean["y"][:, others])
    assert_same_bits(result["dx"][:, others], clean["dx"][:, others])
    for key in ("states", "dstates"):
        for got, expected in zip(result[key], clean[key], strict=True):
            assert_same_bits(got[others], expected[others])
    assert all(np.isnan(state[3]).all() for state in result["states"])


def test_a_reset_ends_nan(cell: str, isa: str, dtype: type) -> None:
    """The state is set to zero, not multiplied by it."""
    resets = np.zeros((4, 2), bool)
    resets[0] = True
    problem = make_problem(cell, Dims(4, 2, 3, 5), dtype).but(options={"resets": resets})
    zero = problem.but(states=tuple(np.zeros_like(s) for s in problem.states)).vjp()
    nan = problem.but(states=tuple(np.full_like(s, np.nan) for s in problem.states)).vjp()
    assert_same_bits(tuple(nan.values()), tuple(zero.values()))


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_values_saturate(isa: str, dtype: type, size: float) -> None:
    """Gates end at 0 and 1 and states at their bounds; gradients are finite, and no NaN appears."""
    for cell in ("lstm", "gru", "rnn_tanh"):
        problem = make_problem(cell, Dims(4, 3, 5, 9), dtype, states=False)
        result = problem.but(x=(np.sign(problem.x) * size).astype(dtype)).vjp()
        assert (np.abs(result["y"]) <= 1.0).all()
        for array in (*result["states"], result["dx"], *result["dstates"]):
            assert np.isfinite(array).all()


def test_huge_gradients_do_not_become_nan_in_other_rows(isa: str) -> None:
    problem = make_problem("lstm", Dims(3, 4, 5, 6), F32)
    dy = problem.dy.copy()
    dy[:, 1] = np.inf
    clean, dirty = problem.vjp(), problem.but(dy=dy).vjp()
    assert_same_bits(dirty["dx"][:, [0, 2, 3]], clean["dx"][:, [0, 2, 3]])
