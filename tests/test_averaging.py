"""Averages of the parameters: their equations, and that they are what is validated and kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bowl import Bowl, make_trainer
from unrolled import Layer, functional
from unrolled.training import ASGD, EMA, Averaging, Budget


def follow(averaging: Averaging, model: Layer, losses: list[list[float]]) -> list[np.ndarray]:
    """Updates the model at random; returns its values after each update."""
    rng = np.random.default_rng(1)
    seen = []
    for known in losses:
        model.flat.values[:] = rng.normal(size=model.flat.values.shape)
        averaging.update(known)
        seen.append(model.flat.values.astype(np.float64))
    return seen


@pytest.fixture
def model(dtype: type[np.floating]) -> Layer:
    return Layer({"w": np.full((3, 5), 7.0, dtype), "b": np.full(2, 7.0, dtype)})


def close(averaging: Averaging, expected: np.ndarray, updates: int) -> None:
    # Each update rounds a few times at the size of the values.
    tolerance = 4 * updates * float(np.finfo(averaging.values.dtype).eps)
    np.testing.assert_allclose(averaging.values, expected, rtol=0, atol=4 * tolerance)


def test_ema_is_a_mean_first_and_exponential_later(isa: str, model: Layer) -> None:
    averaging = EMA(model, decay=0.75)
    seen = follow(averaging, model, [[]] * 10)
    expected = np.zeros_like(seen[0])
    for count, values in enumerate(seen, start=1):
        weight = max(0.25, 1.0 / count)
        expected += weight * (values - expected)
    np.testing.assert_allclose(np.mean(seen[:4], axis=0), sum(seen[:4]) / 4)
    close(averaging, expected, 10)
    assert averaging.count == 10


def test_asgd_is_the_mean_of_all(isa: str, model: Layer) -> None:
    averaging = ASGD(model, trigger=None)
    seen = follow(averaging, model, [[]] * 9)
    close(averaging, np.mean(seen, axis=0), 9)


def test_asgd_waits_for_its_trigger(model: Layer) -> None:
    """The validation that is worse than the best of those more than two before it comes fifth."""
    losses = [5.0, 4.0, 4.5, 4.1, 4.2]
    averaging = ASGD(model, trigger=2)
    seen = follow(averaging, model, [losses[: count // 2] for count in range(14)])
    assert averaging.count == 4, "updates 10 to 13 came after the fifth validation"
    close(averaging, np.mean(seen[10:], axis=0), 4)

    assert ASGD(model, trigger=2).weight([5.0, 4.0, 4.5, 4.1, 3.9]) is None
    assert ASGD(model, trigger=0).weight([4.0]) is None
    assert ASGD(model, trigger=0).weight([4.0, 4.1]) == 1.0


def test_the_average_is_validated_and_kept() -> None:
    bowl = Bowl()
    seen: list[np.ndarray] = []

    def validate() -> float:
        seen.append(bowl.flat.values.copy())
        return -float(len(seen))  # the last is the best

    averaging = EMA(bowl, decay=0.9)
    trainer = make_trainer(
        bowl, averaging=averaging, validate=validate, validations=3, budget=Budget(steps=30)
    )
    trainer.run()
    plain = make_trainer(budget=Budget(steps=30))
    plain.run()
    np.testing.assert_array_equal(bowl.flat.values, plain.model.flat.values)
    np.testing.assert_array_equal(seen[-1], averaging.values)
    assert (seen[-1] != bowl.flat.values).all()
    assert trainer.best_values is not None
    np.testing.assert_array_equal(trainer.best_values, averaging.values)
    np.testing.assert_array_equal(trainer.values, averaging.values)


def test_parameters_come_back_where_validation_fails() -> None:
    bowl = Bowl()

    def validate() -> float:
        raise RuntimeError("no")

    trainer = make_trainer(bowl, averaging=EMA(bowl), validate=validate, validations=1)
    with pytest.raises(RuntimeError, match="no"):
        trainer.run()
    plain = make_trainer()
    plain.run()
    np.testing.assert_array_equal(bowl.flat.values, plain.model.flat.values)


@pytest.mark.parametrize(
    ("kind", "options"), [(EMA, {"decay": 1.0}), (EMA, {"decay": -0.1}), (ASGD, {"trigger": -1})]
)
def test_bad_options_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=kind.__name__):
        kind(Bowl(), **options)


def test_the_fused_pass_refuses_what_does_not_fit() -> None:
    values = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match=r"average_step.*average.*\(P,\).*5.*4"):
        functional.average_step(values, values[:4].copy(), 0.5)
    with pytest.raises(TypeError, match=r"average_step.*float64"):
        functional.average_step(values, values.astype(np.float64), 0.5)
