"""The forecasting model: gradients are right, and many origins of a pass are as good as one."""

from __future__ import annotations

from collections import Counter
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


def more(steps: int = H) -> dict[str, Any]:
    """Two numbers and three categories said of each series, and what came."""
    rng = np.random.default_rng(7)
    return {
        "static": (rng.standard_normal((B, 2)), np.array([[0, 1, 3], [2, 1, 0], [2, 0, 3]])),
        "units": rng.uniform(1.0, 5.0, (R * B, D)),
        "truth": rng.standard_normal((steps, R * B, D)),
    }


SAID: dict[str, Any] = {"numbers": 2, "categories": (3, 2, 4)}


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "gru", "context": 0},
        {"cell": "lstm", "members": 2},
        {"decoder": "autoregressive", "members": 2, **SAID},
        {"decoder": "autoregressive", "context": 0, "distribution": "negative-binomial"},
        {"distribution": "negative-binomial", **SAID},
    ],
)
def test_gradients_are_those_of_the_outputs(settings: dict[str, Any]) -> None:
    net = model(**{"distribution": "gaussian", "num_layers": 2, **settings})
    members = len(net.members)
    inputs = arrays(steps=H - 1)  # shorter than what it is for
    inputs.update(more(steps=H - 1))
    if "numbers" not in settings:
        del inputs["static"]
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


@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
def test_every_gradient_is_told_when_it_is_complete(decoder: str) -> None:
    """So that ranks that train together may sum it while the rest is computed."""
    net = model(decoder=decoder, members=2, **SAID)
    expected, added = Counter[str](), Counter[str]()

    class Listener:
        def expected(self, names: Any) -> None:
            expected.update(names)

        def added(self, names: Any) -> None:
            added.update(names)

    net.listen(Listener())
    net(**arrays(), **more())
    assert not expected  # nothing is begun that no pullback ends
    params, pullback = net.vjp(**arrays(), **more())
    assert set(expected) == set(net.parameters)
    assert not added
    pullback(np.ones_like(params))
    assert added == expected


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


def test_paths_go_on_from_what_was_drawn() -> None:
    """A head without spread draws its mean: paths are what teacher forcing makes of them."""
    for changes in ({"members": 2}, {"context": 0}, {"context": H + 4, "cell": "lstm"}):
        net = model(decoder="autoregressive", distribution="point", **changes)
        inputs = arrays()
        if "context" in changes:
            rng = np.random.default_rng(3)
            inputs["history"] = rng.standard_normal((R * B, D, changes["context"]))
        hidden = net.read(inputs["x"], inputs["origins"])
        given = {name: inputs[name] for name in ("future", "last", "history")}
        paths = net.outlook(hidden, **given, paths=3).paths
        assert paths is not None
        assert paths.shape == (3, H, R * B, D)
        forced = net(**inputs, truth=paths[1])[..., 0]
        # Sums of a few numbers of size one, in another order.
        np.testing.assert_allclose(paths, np.repeat(forced[None], 3, axis=0), atol=1e-12)


def test_paths_hang_together_and_draws_of_steps_do_not() -> None:
    """An untrained autoregressive model walks at random; its steps have the spread of sums."""
    inputs, rng = arrays(), np.random.default_rng(5)
    spreads = {}
    for decoder in ("direct", "autoregressive"):
        net = model(decoder=decoder, context=0, distribution="gaussian")
        for member in net.members:
            member.head.parameters["weight"][...] = 0.0
        net.start_scale([1.0, 1.0])
        given = {name: inputs[name] for name in ("future", "last", "history")}
        hidden = net.read(inputs["x"], inputs["origins"])
        found = net.outlook(hidden, **given, paths=4000, rng=rng).sample(4000, rng)
        spreads[decoder] = (found - inputs["last"]).std(axis=(0, 2, 3))
    # 96,000 draws: the deviation is known to 0.25%, five times that.
    np.testing.assert_allclose(spreads["direct"], 1.0, rtol=0.0125)
    np.testing.assert_allclose(spreads["autoregressive"], np.sqrt(np.arange(1, H + 1)), rtol=0.0125)


def test_quantiles_of_paths() -> None:
    net = model(decoder="autoregressive", distribution="gaussian")
    inputs = arrays()
    given = {name: inputs[name] for name in ("future", "last", "history")}
    hidden = net.read(inputs["x"], inputs["origins"])
    found = net.outlook(hidden, **given, paths=101, rng=np.random.default_rng(1))
    assert found.paths is not None
    levels = (0.05, 0.5, 0.873)
    expected = np.moveaxis(np.quantile(found.paths, levels, axis=0), 0, -1)
    np.testing.assert_allclose(found.quantiles(levels), expected, atol=1e-12)
    np.testing.assert_allclose(found.mean(), found.paths.mean(axis=0))
    with pytest.raises(ValueError, match="at most 101 paths"):
        found.sample(102, np.random.default_rng(0))


def test_what_is_said_of_a_series_counts() -> None:
    net, inputs = model(**SAID), arrays()
    numbers, places = more()["static"]
    before = net(**inputs, static=(numbers, places))
    other = places.copy()
    other[1, 2] = 1  # the second series is of another category
    changed = (net(**inputs, static=(numbers, other)) != before).any(axis=(0, 2, 3))
    np.testing.assert_array_equal(changed, np.arange(R * B) % B == 1)


def test_what_is_kept_of_the_recurrent_layers() -> None:
    net, inputs = model(distribution="student-t"), arrays()
    full = net(**inputs)
    net.keep = np.zeros(D)
    linear = net(**inputs)
    net.keep = np.array([0.25, 1.0])
    part = net(**inputs)
    expected = net.keep * full[..., 0] + (1.0 - net.keep) * linear[..., 0]
    np.testing.assert_allclose(part[..., 0], expected, atol=1e-12)
    np.testing.assert_array_equal(part[..., 1:], full[..., 1:])
    for member in net.members:
        for values in member.head.parameters.values():
            values[...] = 0.0
    net.keep = None
    np.testing.assert_allclose(net(**inputs)[..., 0], linear[..., 0], atol=1e-12)


def test_only_the_location_moves() -> None:
    net, inputs = model(distribution="student-t"), arrays()
    before = net(**inputs)
    moved = net(**{**inputs, "last": inputs["last"] + 1.0})
    np.testing.assert_array_equal(moved[..., 1:], before[..., 1:])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"distribution": "cauchy"}, "student-t"),
        ({"context": -1}, "context and numbers >= 0"),
        ({"members": 0}, "members >= 1"),
        ({"cell": "nothing"}, "nothing"),
        ({"decoder": "transformer"}, "direct, autoregressive"),
    ],
)
def test_what_cannot_be_built(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        model(**changes)


def test_what_is_not_given() -> None:
    with pytest.raises(ValueError, match=r"truth \(H, N, D\) = \(5, 12, 2\), got None"):
        model(decoder="autoregressive")(**arrays())
    with pytest.raises(ValueError, match=r"2\) numbers and \(B, K\) = \(B, 3\) categories"):
        model(**SAID)(**arrays())
