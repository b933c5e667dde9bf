"""An architecture out of a file gets the memory of the file's parameters, and no more."""

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from unrolled.models import (
    AcousticModel,
    ForecastModel,
    LanguageModel,
    Seq2Seq,
    SequenceModel,
    SeriesModel,
)
from unrolled.models._configured import ConfiguredModel

MODELS: Mapping[str, Callable[[], ConfiguredModel]] = {
    "acoustic": lambda: AcousticModel(4, 5, hidden_size=6),
    "forecast": lambda: ForecastModel(4, 1, 1, 3, context=5, hidden_size=6),
    "paths": lambda: ForecastModel(
        4, 1, 1, 3, hidden_size=6, decoder="autoregressive", numbers=1, categories=(3,)
    ),
    "language": lambda: LanguageModel(9, embedding_size=4, hidden_size=6),
    "seq2seq": lambda: Seq2Seq(7, 9, embedding_size=4, hidden_size=6),
    "sequence": lambda: SequenceModel(3, 2, hidden_size=6),
    "series": lambda: SeriesModel(3, 2, hidden_size=6),
    "series with convolutions": lambda: SeriesModel(3, 2, hidden_size=6, conv=4, strides=(2, 1)),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> ConfiguredModel:
    return MODELS[request.param]()


def test_what_belongs_together(model: ConfiguredModel) -> None:
    again = type(model).from_parameters(model.config, model.parameters)
    assert again.config == model.config
    np.testing.assert_array_equal(again.flat.values, model.flat.values)


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": 5},
        {"hidden_size": 10**6},
        {"num_layers": 2 * 10**9},
        {"num_layers": 10**30},
        {"hidden_size": 10**15},
        {"hidden_size": 10**30},
        {"hidden_size": 0},
        {"hidden_size": 6.5},
        {"hidden_size": "6"},
        {"cell": "hopfield"},
        {"dtype": "float64"},
        {"dtype": "object"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_does_not(model: ConfiguredModel, changed: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, TypeError)):
            type(model).from_parameters(model.config | changed, model.parameters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_parameters_that_are_missing(model: ConfiguredModel) -> None:
    name = next(key for key in model.parameters if key.endswith("weight_hh_l0"))
    rest = {key: value for key, value in model.parameters.items() if key != name}
    with pytest.raises(ValueError, match=r"fewer than|missing"):
        type(model).from_parameters(model.config, rest)
