"""A trained classifier of series, ready for series as a user has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrolled import functional
from unrolled.layers._place import move
from unrolled.models import SeriesModel
from unrolled.training import Array, bucket_by_length, pad_sequences

from .._fits import check_fit
from .channels import Channels

if TYPE_CHECKING:
    from ..classification import Options

#: Steps that are read at a time, padding included.
_READ = 8192


@dataclass(frozen=True)
class Classifier:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network.
        classes: their names, in the order of its outputs.
        channels: what its inputs are.
        options: how it was trained.
    """

    model: SeriesModel
    classes: tuple[str, ...]
    channels: Channels
    options: "Options"

    def __post_init__(self) -> None:
        check_fit("outputs", self.model.head.output_size, "classes", len(self.classes))
        check_fit("inputs", self.model.input_size, "channels", self.channels.input_size)

    def __call__(self, series: Array) -> list[tuple[str, float]]:
        """Returns every class with its probability, the most probable first.

        Args:
            series: (C, T), NaN where a value is missing.

        Raises:
            ValueError: it has other channels than the training set, or values that will not do.
        """
        (row,) = self.probabilities([series])
        order = np.argsort(-row, kind="stable")
        return [(self.classes[place], float(row[place])) for place in order]

    def probabilities(self, series: Sequence[Array]) -> Array:
        """Returns the probability (N, classes) of each class for N series (C, T); as `__call__`."""
        encoded = [self.channels.encode(each, place) for place, each in enumerate(series)]
        return np.exp(log_probabilities(self.model, encoded))


def log_probabilities(model: SeriesModel, encoded: Sequence[Array]) -> Array:
    """Returns log-probabilities (N, O) float64 of series (T, I), which are read side by side."""
    result = np.empty((len(encoded), model.head.output_size))
    lengths = [len(each) for each in encoded]
    for rows in bucket_by_length(lengths, max_tokens=max([_READ, *lengths])):
        logits = move(model(*pad_sequences([encoded[row] for row in rows])), "cpu")
        result[rows] = functional.log_softmax(logits.astype(np.float64))
    return result
