"""The estimator of forecasts keeps scikit-learn's conventions, and forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unrolled.tasks.series.regressor import SeriesForecaster

QUICK: dict[str, Any] = {"horizon": 6, "context": 24, "hidden": 16, "steps": 40, "lr": 5e-3}


def wave(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.sin(np.arange(count) * 0.5) + 0.05 * rng.standard_normal(count)


def test_forecasts_what_comes_next() -> None:
    y = wave(306)
    model = SeriesForecaster(**QUICK).fit(None, y[:300])
    assert model.predict().shape == (6,)
    assert np.abs(model.predict() - y[300:]).max() < 0.4
    found = model.forecast(levels=(0.05, 0.95))
    assert found.quantiles.shape == (6, 1, 2)
    assert (found.quantiles[..., 0] < found.quantiles[..., 1]).all()


def test_several_targets_with_covariates() -> None:
    price = np.random.default_rng(1).integers(0, 2, 306).astype(float)
    y = np.stack([5.0 - 3.0 * price, wave(306)], axis=1)
    model = SeriesForecaster(**{**QUICK, "steps": 150, "lr": 1e-2})
    model.fit(price[:300, None], y[:300])
    found = model.predict(price[300:, None])
    assert found.shape == (6, 2)
    assert np.abs(found[:, 0] - y[300:, 0]).max() < 1.5  # the two prices are 3 apart


def test_the_same_state_gives_the_same_model() -> None:
    y = wave(120)
    one, other = (SeriesForecaster(**QUICK, random_state=3).fit(None, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict(), other.predict())


def test_conventions() -> None:
    model = SeriesForecaster(**QUICK)
    assert model.get_params()["horizon"] == 6
    assert model.set_params(horizon=3) is model
    assert model.get_params()["horizon"] == 3
    assert "horizon=3" in repr(model)
    with pytest.raises(ValueError, match="no parameter 'depth'"):
        model.set_params(depth=3)
    with pytest.raises(ValueError, match="call fit before"):
        model.predict()


#: Checks of scikit-learn that call `predict` with as many rows as `fit` had.
ROWS_OF_FIT = {
    "check_dict_unchanged",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_regressor_data_not_an_array",
    "check_regressors_int",
    "check_regressors_train",
    "check_supervised_y_2d",
}


@pytest.mark.filterwarnings("ignore")  # what scikit-learn warns of in its checks
def test_scikit_learn_takes_it() -> None:
    pytest.importorskip(
        "sklearn", minversion="1.6", reason="scikit-learn 1.6 comes with the extra [recipes]"
    )
    from sklearn.base import clone, is_regressor
    from sklearn.utils import estimator_checks as checks

    model = SeriesForecaster(**QUICK)
    assert clone(model).get_params() == model.get_params()
    assert is_regressor(model)
    small = SeriesForecaster(horizon=2, context=4, hidden=4, steps=2, batch=2, validation=4)
    done = checks.check_estimator(small, on_skip=None, on_fail=None)
    failed = {each["check_name"]: str(each["exception"]) for each in done if _failed(each)}
    # scikit-learn predicts rows of X that are like those of `fit`; here they are the steps to come.
    assert failed.keys() <= ROWS_OF_FIT
    assert all("expected X of shape (2, columns)" in text for text in failed.values())
    passed = {each["check_name"] for each in done if each["status"] == "passed"}
    assert len(passed - ROWS_OF_FIT) >= 25


def _failed(check: dict[str, Any]) -> bool:
    return check["status"] not in ("passed", "skipped")


class Sparse:
    """Looks like a matrix of SciPy."""

    def toarray(self) -> np.ndarray:
        return np.zeros((100, 1))


@pytest.mark.parametrize(
    ("X", "y", "text"),
    [
        (None, np.zeros((2, 3, 4)), "expected y of shape"),
        (None, ["a", "b"], "expected numbers in y"),
        (None, [1.0, np.inf] * 50, "y is infinite"),
        (np.zeros((5, 1)), np.zeros(100), r"expected X of shape \(100, columns\)"),
        (None, np.zeros(5), "are left to learn from"),
        (None, np.full(100, np.nan), "no value"),
        (None, None, "y is None"),
        (None, np.zeros(1), "n_samples=1 is too short"),
        (None, np.zeros(100, complex), "y is complex"),
        (np.zeros(100), np.zeros(100), "X of shape .* got .* Reshape your data"),
        (np.zeros((100, 0)), np.zeros(100), "0 feature.* None says that there are no covariates"),
        (Sparse(), np.zeros(100), "X is sparse"),
    ],
)
def test_what_it_does_not_take(X: Any, y: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SeriesForecaster(**QUICK).fit(X, y)


def test_covariates_must_be_those_of_fit() -> None:
    model = SeriesForecaster(**{**QUICK, "steps": 2}).fit(np.zeros((100, 1)), wave(100))
    with pytest.raises(ValueError, match="X has 2 features, but SeriesForecaster"):
        model.predict(np.zeros((6, 2)))
    with pytest.raises(ValueError, match=r"expected X of shape \(6, columns\)"):
        model.predict(np.zeros((5, 1)))
