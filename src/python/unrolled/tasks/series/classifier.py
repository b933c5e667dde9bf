"""An estimator that says what whole series are, with the conventions of scikit-learn.

    from unrolled.tasks.series.classifier import SeriesClassifier

    model = SeriesClassifier().fit(X, y)
    model.predict(X_test)

scikit-learn itself is not needed; its `clone`, `cross_val_score` and the like take the estimator.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from unrolled.training import Array

from .._run import make_options
from ..classification import Classification
from .estimator import Estimator, fit_task, not_fitted, tags
from .trained_classifier import Classifier

#: What it takes to learn: times through the data, and updates where there are few series.
_EPOCHS, _UPDATES = 60.0, 300.0


class SeriesClassifier(Estimator):
    """Recurrent layers over series of any lengths, each with one class.

    Series are as aeon has them: an array (cases, channels, time) for series of one length, or a
    list of arrays (channels, time) of any lengths. NaN is a missing value, where the training
    series have some too. Training takes all series, holds none out and ends after `epochs`.

    Args:
        cell: kind of recurrent layer.
        hidden: units per recurrent layer and direction.
        layers: recurrent layers.
        bidirectional: read backwards too.
        conv: channels of two convolutions before the recurrent layers; 0: none.
        resolution: steps of a series, about, that convolutions leave to recurrent layers, if it
            has more.
        dropout: part of the recurrent outputs dropped in training, 0..1.
        shift: shift channels at random in training, by so many deviations of the means of series.
        jitter: add noise to values in training, of so many deviations from the values beside them.
        stretch: make series longer or shorter at random in training, by up to this part.
        epochs: times through the data; None: 60, and of few series as many as make 300 updates.
        batch: series per update.
        lr: highest learning rate; it rises over the first updates, then falls as a cosine.
        weight_decay: how strongly matrices are pulled to zero.
        random_state: of initial weights, batches, changes and dropout; the same one gives the same
            model.

    Attributes:
        classes_: (K,) the classes, sorted, after `fit`; of the type that y had.
        n_channels_: channels of a series, after `fit`.
        model_: the trained `tasks.classification.Classifier`, after `fit`.
    """

    #: What scikit-learn before 1.6 asks for instead of `__sklearn_tags__`.
    _estimator_type = "classifier"

    def __init__(
        self,
        *,
        cell: Literal["gru", "lstm", "rnn"] = "gru",
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        conv: int = 64,
        resolution: int = 32,
        dropout: float = 0.3,
        shift: float = 0.5,
        jitter: float = 0.3,
        stretch: float = 0.2,
        epochs: float | None = None,
        batch: int = 32,
        lr: float = 5e-3,
        weight_decay: float = 0.01,
        random_state: int = 0,
    ) -> None:
        # Nothing is checked here: scikit-learn's conventions leave that to `fit`.
        self.cell = cell
        self.hidden = hidden
        self.layers = layers
        self.bidirectional = bidirectional
        self.conv = conv
        self.resolution = resolution
        self.dropout = dropout
        self.shift = shift
        self.jitter = jitter
        self.stretch = stretch
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        return tags("classifier", two_d_array=False, three_d_array=True)

    def fit(self, X: Array | Sequence[Array], y: Array | Sequence[Any]) -> "SeriesClassifier":
        """Trains on series and their classes, from the beginning.

        Args:
            X: (cases, channels, time), or a list of (channels, time).
            y: (cases,) a class for each.

        Raises:
            ValueError: an argument, X or y will not do, or training diverged; the text says why.
            KeyboardInterrupt: Ctrl-C; the estimator is as it was before.
        """
        series, labels = as_series(X), np.asarray(y)
        if labels.shape != (len(series),):
            raise ValueError(
                f"[SeriesClassifier] expected y of shape (cases,) = ({len(series)},), "
                f"got {labels.shape}"
            )
        options: Any = make_options(Classification, self._options())
        if self.epochs is None:
            updates = -(-len(series) // max(options.batch, 1))
            options = replace(options, epochs=max(_EPOCHS, _UPDATES / updates))
        task = Classification(options)
        classes, targets = np.unique(labels, return_inverse=True)
        task.classes = tuple(map(str, classes))
        task.learn(series, targets.astype(np.int64))
        model = fit_task(task, validate=False)
        self.model_ = Classifier(model, task.classes, task.channels, task.options)
        self.classes_ = classes
        self.n_channels_ = task.channels.count
        return self

    def predict_proba(self, X: Array | Sequence[Array]) -> Array:
        """Returns the probability (cases, K) of each class, in the order of `classes_`.

        Raises:
            ValueError: X will not do, or `fit` was not called.
        """
        if not hasattr(self, "model_"):
            raise not_fitted(self, "predict")
        return self.model_.probabilities(as_series(X))

    def predict(self, X: Array | Sequence[Array]) -> Array:
        """Returns the most probable class (cases,) of each series; as `predict_proba`."""
        best = self.predict_proba(X).argmax(axis=1)
        chosen: Array = self.classes_[best]
        return chosen

    def score(self, X: Array | Sequence[Array], y: Array | Sequence[Any]) -> float:
        """Returns the part of the series that `predict` tells right, 0..1."""
        return float(np.mean(self.predict(X) == np.asarray(y)))


def as_series(X: Array | Sequence[Array]) -> list[Array]:
    """Returns a list of series (channels, time) float64 of what an estimator takes.

    Raises:
        ValueError: it is something else, or empty.
    """
    expected = (
        "[SeriesClassifier] expected X as an array (cases, channels, time) or a list of arrays "
        "(channels, time)"
    )
    if isinstance(X, np.ndarray) and X.dtype != object and X.ndim != 3:
        hint = "; series of one channel: X[:, None, :]" if X.ndim == 2 else ""
        raise ValueError(f"{expected}, got an array of shape {X.shape}{hint}")
    try:
        series = [np.asarray(each, np.float64) for each in X]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected} of numbers: {error}") from error
    if not series:
        raise ValueError(f"{expected}, got no series")
    for place, each in enumerate(series):
        if each.ndim != 2:
            hint = "; a series of one channel: series[None, :]" if each.ndim == 1 else ""
            raise ValueError(f"{expected}, got shape {each.shape} of series {place + 1}{hint}")
    return series
