"""The forecasting model: gradients are right, and many origins of a pass are as good as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unrolled.models import ForecastModel

T, B, R, H, D, C = 9, 3, 4, 5, 2, 3
INPUTS, FUTURE = 4, 2


def model(**changes: Any) -> ForecastModel:
    settings = {"context": C, "hidden_size": 6, "dtype": np.float64, **changes}
    return ForecastModel(INPUTS, FUTURE, D, H, rng=np.random.default_rng(1), **settings)


def arrays(steps: int = H) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "x": rng.standard_normal((T, B, INPUTS)),
        "origins": np.array([2, 5, 6, 8]),
        "future": rng.standard_normal((steps, R * B, FUTURE)),
        "last": rng.standard_normal((R * B, D)),
        "history": rng.standard_normal((R * B, D, C)),
    }


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("context", "members"), [(0, 1), (C, 2)])
def test_gradients_are_those_of_the_outputs(cell: str, context: int, members: int) -> None:
    net = model(cell=cell, context=context, members=members, num_layers=2, distribution="gaussian")
    inputs = arrays(steps=H - 1)  # shorter than what it is for
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True
    params, pullback = net.vjp(**inputs, resets=resets)
    assert len(params) == members
    np.testing.assert_allclose(params.mean(axis=0), net(**inputs, resets=resets), atol=1e-12)
    weights = np.random.default_rng(3).standard_normal(params.shape[1:])
    net.zero_grads()
    pullback(np.repeat(weights[None], members, axis=0) / members)  # that of the mean
    step = 1e-6
    rng = np.random.default_rng(4)
    for name, values in net.parameters.items():
        for _ in range(3):
            place = tuple(int(rng.integers(size)) for size in values.shape)
            kept, ends = values[place], []
            for sign in (1.0, -1.0):
                values[place] = kept + sign * step
                ends.append(float((net(**inputs, resets=resets) * weights).sum()))
            values[place] = kept
            # Central differences: rounding of sums of 100 numbers over the step.
            expected = (ends[0] - ends[1]) / (2 * step)
            assert net.grads[name][place] == pytest.approx(expected, rel=1e-5, abs=1e-7), name


def test_many_origins_are_as_good_as_one() -> None:
    net, inputs = model(distribution="student-t"), arrays()
    together = net(**inputs)
    for r, origin in enumerate(inputs["origins"]):
        rows = slice(r * B, (r + 1) * B)
        alone = net(
            inputs["x"][: origin + 1],
            np.array([origin]),
            np.ascontiguousarray(inputs["future"][:, rows]),
            inputs["last"][rows],
            inputs["history"][rows],
        )
        np.testing.assert_array_equal(alone, together[:, rows])


def test_a_level_that_moves_away_moves_the_forecast_along() -> None:
    net, inputs = model(distribution="quantile"), arrays()
    before = net(**inputs)
    moved = net(**{**inputs, "last": inputs["last"] + 100.0})
    # Rounding of numbers of size 100.
    np.testing.assert_allclose(moved - before, 100.0, atol=1e-12)


def test_only_the_location_moves() -> None:
    net, inputs = model(distribution="student-t"), arrays()
    before = net(**inputs)
    moved = net(**{**inputs, "last": inputs["last"] + 1.0})
    np.testing.assert_array_equal(moved[..., 1:], before[..., 1:])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"distribution": "cauchy"}, "student-t"),
        ({"context": -1}, "context >= 0"),
        ({"members": 0}, "members >= 1"),
        ({"cell": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_built(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        model(**changes)
