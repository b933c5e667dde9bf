"""Gates may apply other functions: every function, cell, ISA and dtype, forward and BPTT."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import unrolled
from problems import Dims, Problem, make_problem
from test_cells import MODES, check
from test_gradients import check as check_gradients
from test_reference import test_gradients_are_slopes as check_slopes
from tolerances import eps
from unrolled import functional, reference
from unrolled.functional import GateFunction, Gates

CELLS = [info.name for info in functional.cells() if info.functions]

#: One of each, with slopes of at most 1, so that the bounds of `tolerances` hold.
FUNCTIONS = {
    "sigmoid": GateFunction("sigmoid"),
    "tanh": GateFunction("tanh"),
    "relu": GateFunction("relu"),
    "affine": GateFunction("affine", 0.6, -0.1),
    "leaky_relu": GateFunction("leaky_relu", 0.3),
    "thresholded_relu": GateFunction("thresholded_relu", 0.25),
    "scaled_tanh": GateFunction("scaled_tanh", 0.9, 0.7),
    "hard_sigmoid": GateFunction("hard_sigmoid"),
    "elu": GateFunction("elu", 0.7),
    "softsign": GateFunction("softsign"),
    "softplus": GateFunction("softplus"),
}
#: Those that gates which multiply states may have without growth.
BOUNDED = ("hard_sigmoid", "sigmoid", "scaled_tanh", "softsign")


def choice(cell: str, name: str, **options: Any) -> Gates:
    """Gates with a function in its last places, and a bounded one in the first of several."""
    places = len(functional.cell_info(cell).functions)
    first = BOUNDED[list(FUNCTIONS).index(name) % len(BOUNDED)]
    names = [name] if places == 1 else [first, *[name] * (places - 1)]
    return Gates(tuple(FUNCTIONS[each] for each in names), **options)


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> str:
    return request.param


def check_both(problem: Problem) -> None:
    check(problem)
    check_gradients(problem)


def test_value_and_slope(function: str, isa: str, dtype: type) -> None:
    """At every x to a few ULP of what is added: f(x) is h of a unit that reads x, f'(x) its dx."""
    x = np.concatenate(
        [
            np.linspace(-30, 30, 4_001),
            np.linspace(-1.5, 1.5, 2_001),
            np.exp(np.linspace(-60, 0, 501)),
            -np.exp(np.linspace(-60, 0, 501)),
            [-1e30, -300.0, 300.0, 1e30],
        ]
    ).astype(dtype)
    one, none = np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
    chosen = FUNCTIONS[function]
    weights = functional.pack("rnn_functions", one, none, gates=Gates((chosen,)))
    y, _, saved = functional.scan_vjp(weights, x.reshape(1, -1, 1))
    grads = [np.zeros_like(one), np.zeros_like(none), None, None]
    dx, _ = functional.scan_backward(saved, np.ones_like(y), grads=grads)
    alpha, beta = (dtype(each or 0.0) for each in (chosen.alpha, chosen.beta))
    wide = x.astype(np.longdouble)
    value, slope = reference.FUNCTIONS[function](wide, alpha, beta)
    allowed = 8 * eps(dtype)
    assert np.all(np.abs(y.ravel() - value) <= allowed * (np.abs(value) + 1))
    # Rounding may put a corner to either side of an x beside it.
    corners = {
        "relu": [0.0],
        "leaky_relu": [0.0],
        "elu": [0.0],
        "thresholded_relu": [0.25],
        "hard_sigmoid": [-2.5, 2.5],
    }.get(function, [])
    away = np.all([np.abs(wide - corner) > 1e-5 for corner in corners] or [x == x], axis=0)
    assert np.all(np.abs(dx.ravel() - slope)[away] <= allowed * (np.abs(slope[away]) + 1))
    assert away.mean() > 0.75


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_what_is_no_number(function: str, isa: str, dtype: type, nothing: float) -> None:
    """NaN stays NaN, and infinity becomes the limit of the function, but for inf / inf."""
    one, none = np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
    weights = functional.pack("rnn_functions", one, none, gates=Gates((FUNCTIONS[function],)))
    y, _ = functional.scan(weights, np.full((1, 1, 1), nothing, dtype))
    chosen = FUNCTIONS[function]
    with np.errstate(invalid="ignore", over="ignore"):
        value, _ = reference.FUNCTIONS[function](
            np.array(nothing), chosen.alpha or 0.0, chosen.beta or 0.0
        )
    np.testing.assert_allclose(y.item(), value, rtol=1e-6, atol=1e-30)


def test_scans(cell: str, function: str, isa: str, dtype: type) -> None:
    gates = choice(cell, function, clip=None if function < "m" else 0.8)
    check_both(make_problem(cell, Dims(5, 6, 7, 9), dtype).but(gates=gates))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_modes(cell: str, isa: str, dtype: type, mode: dict) -> None:
    coupled = cell == "lstm_functions" and "ragged" in mode
    problem = make_problem(cell, Dims(9, 5, 3, 17), dtype, **mode)
    check_both(problem.but(gates=choice(cell, "scaled_tanh", clip=1.0, coupled=coupled)))


@pytest.mark.parametrize("dims", [Dims(0, 3, 5, 4), Dims(1, 1, 1, 1), Dims(23, 33, 5, 36)], ids=str)
def test_sizes(cell: str, isa: str, dtype: type, dims: Dims) -> None:
    check_both(make_problem(cell, dims, dtype).but(gates=choice(cell, "elu")))


@pytest.mark.parametrize("function", ["relu", "elu", "hard_sigmoid"])
@pytest.mark.parametrize(
    ("cell", "coupled"), [*((cell, False) for cell in CELLS), ("lstm_functions", True)]
)
def test_the_specification_has_its_slopes(
    cell: str, function: str, coupled: bool, rng: np.random.Generator
) -> None:
    gates = choice(cell, function, clip=1.2, coupled=coupled)
    check_slopes(cell, {"gates": gates, "lengths": [3, 0, 4]}, rng)


def test_default_functions_are_those_of_the_plain_cell(cell: str, dtype: type) -> None:
    plain = cell.replace("_functions", "").replace("lstm", "lstm_peephole")
    plain = plain.replace("rnn", "rnn_tanh")
    problem = make_problem(cell, Dims(5, 6, 7, 9), dtype)
    for own, other in zip(problem.scan(), problem.but(cell=plain).scan(), strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=64 * eps(dtype))


def test_absent_parameters_of_units_are_zeros(dtype: type) -> None:
    problem = make_problem("lstm_functions", Dims(5, 6, 7, 9), dtype)
    *others, units, last = problem.weights
    absent, zeros = (
        problem.but(weights=(*others, each, last)) for each in (None, np.zeros_like(units))
    )
    one, other = absent.vjp(), zeros.vjp()
    for what in ("y", "dx"):
        np.testing.assert_array_equal(one[what], other[what])
    for got, truth in zip(one["grads"], other["grads"], strict=False):
        np.testing.assert_array_equal(got, truth)
    assert len(one["grads"]) == len(other["grads"]) - 1


def test_units_that_are_not_there_stay_silent(isa: str, dtype: type) -> None:
    """A vector has more lanes than H = 3 units: with f(0) > 1 theirs would grow without end."""
    gates = Gates((GateFunction("affine", 0.1, 1.5), *[GateFunction("softplus")] * 2))
    problem = make_problem("lstm_functions", Dims(2_500, 2, 2, 3), dtype)
    rows = np.repeat([-15.0, -15.0, 0.0, -15.0], 3).astype(dtype)  # where f is 0
    small = [problem.weights[0] / 8, problem.weights[1] / 8, rows, np.zeros_like(rows), None, None]
    result = problem.but(weights=(*small,), gates=gates).vjp()
    assert np.isfinite(result["y"]).all()
    for gradient in (result["dx"], *result["grads"]):
        assert np.isfinite(gradient).all()


def test_recomputing_changes_no_bit(cell: str, dtype: type) -> None:
    problem = make_problem(cell, Dims(40, 17, 5, 9), dtype).but(gates=choice(cell, "softplus"))
    weights, grads = problem.pack(), problem.zero_grads()
    results = []
    for recompute in ("none", "gates", 7):
        grads = problem.zero_grads()
        _, _, saved = functional.scan_vjp(
            weights, problem.x, problem.states, recompute=recompute, **problem.options
        )
        dx, _ = functional.scan_backward(saved, problem.dy, problem.dstates, grads=grads)
        results.append([dx, *(each for each in grads if each is not None)])
    for other in results[1:]:
        for got, truth in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(got, truth)


LAYERS = {
    "lstm": lambda **o: unrolled.LSTM(
        5, 9, activations=("hard_sigmoid", "softsign", "tanh"), gate_clip=2.0, **o
    ),
    "gru": lambda **o: unrolled.GRU(5, 9, activations=("hard_sigmoid", "elu"), **o),
    "gru_before": lambda **o: unrolled.GRU(
        5, 9, activations=("hard_sigmoid", "elu"), reset_after=False, **o
    ),
    "rnn": lambda **o: unrolled.RNN(5, 9, nonlinearity=GateFunction("leaky_relu", 0.2), **o),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_them_with_all_else(name: str, rng: np.random.Generator) -> None:
    """Two directions, layers, zoneout, dropout, a stream, and a step that learns."""
    layer = LAYERS[name](
        num_layers=2, bidirectional=True, zoneout=0.1, recurrent_dropout=0.1,
        learn_initial_state=True, rng=rng,
    )  # fmt: skip
    x = rng.standard_normal((6, 4, 5)).astype(np.float32)
    (y, _), pullback = layer.vjp(x, rng=np.random.default_rng(0))
    pullback(y)
    assert all(np.isfinite(each).all() and each.any() for each in layer.grads.values())
    one_way = LAYERS[name](rng=rng)
    whole, _ = one_way(x)
    stream = one_way.stream(4)
    steps = np.stack([stream(row).copy() for row in x])
    np.testing.assert_allclose(steps, whole, rtol=0, atol=64 * eps(np.float32))


@pytest.mark.parametrize(
    ("layer", "cell"),
    [
        (lambda: unrolled.LSTM(2, 3, activations=("sigmoid", "tanh", "tanh")), "lstm"),
        (lambda: unrolled.GRU(2, 3, activations=("sigmoid", "tanh")), "gru"),
        (lambda: unrolled.RNN(2, 3, nonlinearity="relu"), "rnn_relu"),
        (lambda: unrolled.RNN(2, 3, nonlinearity="relu", gate_clip=1.0), "rnn_functions"),
        (lambda: unrolled.LSTM(2, 3, gate_clip=1.0), "lstm_functions"),
    ],
)
def test_the_fastest_cell_that_does_it(layer: Any, cell: str) -> None:
    assert layer().cell == cell


def test_the_text_of_a_layer_tells_them() -> None:
    texts = [repr(make()) for make in LAYERS.values()]
    assert "activations=('hard_sigmoid', 'softsign', 'tanh'), gate_clip=2" in texts[0]
    assert "activations=('hard_sigmoid', 'elu')" in texts[1]
    assert "reset_after=False" in texts[2]
    assert "nonlinearity='leaky_relu(alpha=0.2)'" in texts[3]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: GateFunction("gelu"), "out of sigmoid, tanh, relu"),
        (lambda: GateFunction("tanh", 1.0), "expected no alpha, which tanh has not"),
        (lambda: GateFunction("scaled_tanh", 1.0), "expected beta for scaled_tanh, got None"),
        (lambda: GateFunction("elu", np.inf), "expected a finite alpha, got inf"),
        (lambda: Gates((), clip=0.0), "expected clip > 0"),
        (lambda: unrolled.LSTM(2, 3, activations=("tanh",)), "expected 3 activations"),
        (lambda: unrolled.GRU(2, 3, activations="tanh"), "expected 2 activations"),
        (lambda: unrolled.RNN(2, 3, nonlinearity="gelu"), "out of sigmoid, tanh, relu"),
        (lambda: unrolled.LSTM(2, 3, gate_clip=1.0, proj_size=2), "with proj_size or layer_norm"),
        (lambda: unrolled.GRU(2, 3, gate_clip=1.0, layer_norm=True), "with layer_norm"),
        (
            lambda: unrolled.layers.Recurrent("lstm", 2, 3, gates=Gates(())),
            "expected gates=None: those of lstm are its own",
        ),
        (
            lambda: unrolled.layers.Recurrent("gru_functions", 2, 3, gates=Gates(())),
            "expected 2 functions of gates",
        ),
        (
            lambda: unrolled.layers.Recurrent(
                "gru_functions", 2, 3, gates=choice("gru_functions", "elu", coupled=True)
            ),
            "has no gates i and f",
        ),
        (
            lambda: unrolled.layers.Recurrent("lstm_peephole", 2, 3, unit_parameters=False),
            "lstm_peephole needs them",
        ),
        (
            lambda: functional.pack(
                "lstm",
                np.zeros((8, 2)),
                np.zeros((8, 2)),
                gates=Gates((GateFunction("tanh"),)),
            ),
            "expected 0 functions, got 1",
        ),
        (
            lambda: functional.pack(
                "lstm", np.zeros((8, 2)), np.zeros((8, 2)), gates=Gates((), clip=1.0)
            ),
            "expected no limit",
        ),
        (
            lambda: functional.pack(
                "rnn_functions", np.zeros((2, 2)), np.zeros((2, 2)), gates=Gates((), coupled=True)
            ),
            "cannot couple",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
