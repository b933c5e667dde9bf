"""An estimator that says what comes next in series, with the conventions of scikit-learn.

    from unrolled.tasks.series.regressor import SeriesForecaster

    model = SeriesForecaster(horizon=12).fit(None, y)      # y (N,) or (N, D), in the order of time
    model.predict()                                        # the next 12: (12,) or (12, D)

scikit-learn itself is not needed; its `clone` and the like take the estimator.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from unrolled.training import Array

from .._run import make_options
from ..forecasting import Forecasting
from .data import Columns, Panel, Series, Values
from .estimator import Estimator, fit_task, not_fitted, tags
from .forecast import Forecast
from .times import Step


class SeriesForecaster(Estimator):
    """Recurrent layers that read a series and forecast the steps after its end.

    X, if there is one, are covariates that are known in advance, a row for each step; `predict`
    takes those of the steps to come. NaN is a missing value.

    Args:
        horizon: steps to forecast.
        context: steps of the past to learn from at least; None: some horizons.
        head: what a forecast is: a distribution, quantiles, or the mean alone.
        decoder: say all steps at once, or each after the one before, as paths.
        calibrate: make intervals as wide as the held-out part asks for.
        linear: add the recurrent layers to a regression on the context.
        cell: kind of recurrent layer.
        hidden: units of a layer.
        layers: recurrent layers that read the past.
        dropout: part of the outputs dropped in training, 0..1.
        validation: share at the end of the series that chooses the model, or steps if 1 or more.
        steps: updates.
        batch: stretches of the series per update.
        lr: highest learning rate.
        random_state: of initial weights, batches and dropout; the same one gives the same model.

    Attributes:
        forecaster_: the trained `tasks.forecasting.Forecaster`, after `fit`.
        n_features_in_: columns of X, after `fit`.
    """

    #: What scikit-learn before 1.6 asks for instead of `__sklearn_tags__`.
    _estimator_type = "regressor"

    def __init__(
        self,
        *,
        horizon: int = 24,
        context: int | None = None,
        head: Literal[
            "student-t", "gaussian", "negative-binomial", "quantile", "point"
        ] = "student-t",
        decoder: Literal["direct", "autoregressive"] = "direct",
        calibrate: bool = True,
        linear: bool = True,
        cell: Literal["gru", "lstm", "rnn"] = "gru",
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.1,
        validation: float = 0.15,
        steps: int = 300,
        batch: int = 32,
        lr: float = 1e-3,
        random_state: int = 0,
    ) -> None:
        # Nothing is checked here: scikit-learn's conventions leave that to `fit`.
        self.horizon = horizon
        self.context = context
        self.head = head
        self.decoder = decoder
        self.calibrate = calibrate
        self.linear = linear
        self.cell = cell
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.validation = validation
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        return tags("regressor", two_d_array=True)

    def fit(self, X: Array | None, y: Array | Sequence[float]) -> "SeriesForecaster":
        """Trains on a series, from the beginning.

        Args:
            X: (N, K) covariates that are known in advance, or None.
            y: (N,) or (N, D) the series.

        Raises:
            ValueError: an argument, X or y will not do, or training diverged; the text says why.
            KeyboardInterrupt: Ctrl-C; the estimator is as it was before.
        """
        if y is None:
            raise ValueError("[SeriesForecaster] requires y to be passed, but the target y is None")
        y = np.asarray(y)
        targets = _matrix("y", y[:, None] if y.ndim == 1 else y, None)
        known = _matrix("X", X, len(targets))
        if X is not None and not known.shape[1]:
            raise ValueError(
                f"[SeriesForecaster] X has 0 feature(s) (shape={known.shape}) while a "
                "minimum of 1 is required: None says that there are no covariates"
            )
        if len(targets) < 2:
            raise ValueError(
                f"[SeriesForecaster] a series of n_samples={len(targets)} is too short"
            )
        if np.isnan(targets).all(axis=0).any():
            raise ValueError("[SeriesForecaster] a column of y has no value")
        options: Any = make_options(Forecasting, {**self._options(), "test": 0.0})
        task = Forecasting(options)
        names = [
            tuple(f"{letter}{i}" for i in range(part.shape[1]))
            for letter, part in (("y", targets), ("x", known))
        ]
        columns = Columns(targets=names[0], known=names[1])
        self._columns, self._flat = columns, y.ndim == 1
        task.given = self._panel(targets, known)
        task.load()
        model = fit_task(task, validate=True)
        assets = {**task.assets(model), **task.finish(model)}
        self.forecaster_ = task.restore(task.options, assets, model.parameters)
        self.n_features_in_ = known.shape[1]
        self._past = targets, known
        return self

    def predict(self, X: Array | None = None) -> Array:
        """Returns the next `horizon` steps, (H,) or (H, D).

        Args:
            X: (H, K) covariates of these steps; None where `fit` had none, or they are not known.

        Raises:
            ValueError: X will not do, or `fit` was not called.
        """
        mean = self.forecast(X).mean
        return mean[:, 0] if self._flat else mean

    def forecast(
        self, X: Array | None = None, *, levels: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> Forecast:
        """Returns the next steps with their quantiles; as `predict`."""
        if not hasattr(self, "forecaster_"):
            raise not_fitted(self, "predict")
        targets, known = self._past
        coming = np.zeros((0, known.shape[1])) if X is None else _matrix("X", X, None)
        if coming.shape[1] != known.shape[1]:
            raise ValueError(
                f"X has {coming.shape[1]} features, but SeriesForecaster is expecting "
                f"{known.shape[1]} features as input: those of fit"
            )
        if X is not None:
            coming = _matrix("X", X, self.horizon)
        panel = self._panel(targets, np.concatenate([known, coming]))
        return self.forecaster_.predict(panel, levels=levels)[0]

    def _panel(self, targets: Values, known: Values) -> Panel:
        series = Series("series", 0, targets, known, np.zeros((len(targets), 0)))
        return Panel((series,), self._columns, Step(1, "number"))


def _matrix(name: str, values: Any, rows: int | None) -> Values:
    """Returns (N, columns) numbers of what a user gave; no columns for None."""
    if values is None:
        return np.zeros((rows or 0, 0))
    if hasattr(values, "toarray"):
        raise ValueError(f"[SeriesForecaster] {name} is sparse: give an array instead")
    values = np.asarray(values)
    if values.ndim != 2 or (rows is not None and len(values) != rows):
        wanted = "(N, columns)" if rows is None else f"({rows}, columns)"
        hint = ". Reshape your data: one column is array[:, None]" if values.ndim == 1 else ""
        raise ValueError(
            f"[SeriesForecaster] expected {name} of shape {wanted}, got {values.shape}{hint}"
        )
    if values.dtype.kind == "c":
        raise ValueError(f"[SeriesForecaster] Complex data not supported, but {name} is complex")
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"[SeriesForecaster] expected numbers in {name}: {error}") from error
    if np.isinf(matrix).any():
        raise ValueError(f"[SeriesForecaster] {name} is infinite in places; NaN means missing")
    return matrix
