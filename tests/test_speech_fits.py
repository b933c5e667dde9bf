"""A speech model and what its numbers stand for belong together, whatever a file says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unrolled.audio import FeatureSettings, Normalisation
from unrolled.models import AcousticModel
from unrolled.tasks import keywords, phonemes

BANDS, SYMBOLS = 8, ("a", "b")
SETTINGS = FeatureSettings(bands=BANDS)
FIGURES = Normalisation(np.zeros(BANDS, np.float32), np.ones(BANDS, np.float32))


def recogniser(model: AcousticModel, **changed: Any) -> phonemes.Recogniser:
    parts = {"symbols": SYMBOLS, "settings": SETTINGS, "normalisation": FIGURES} | changed
    return phonemes.Recogniser(model, options=phonemes.Options(), **parts)


def spotter(model: AcousticModel, **changed: Any) -> keywords.Spotter:
    parts = {
        "words": ("x", *SYMBOLS), "settings": SETTINGS, "normalisation": FIGURES, "seconds": 1.0
    } | changed  # fmt: skip
    return keywords.Spotter(model, options=keywords.Options(), **parts)


@pytest.mark.parametrize(("make", "pooled"), [(recogniser, False), (spotter, True)])
def test_parts_that_fit(make: Any, pooled: bool) -> None:
    def model(**options: Any) -> AcousticModel:
        return AcousticModel(BANDS, 3, hidden_size=4, **({"pooled": pooled} | options))

    make(model())
    with pytest.raises(ValueError, match=r"the model has (one answer|answers for each step)"):
        make(model(pooled=not pooled))
    with pytest.raises(ValueError, match="the model has 8 features, its numbers 9"):
        make(model(), settings=FeatureSettings(bands=9))
    with pytest.raises(ValueError, match="the model has 8 features, its means 2"):
        make(model(), normalisation=Normalisation(*np.ones((2, 2), np.float32)))


@pytest.mark.parametrize("seconds", [0.0, -1.0, np.inf, np.nan])
def test_clips_have_a_length(seconds: float) -> None:
    model = AcousticModel(BANDS, 3, hidden_size=4, pooled=True)
    with pytest.raises(ValueError, match="clips of more than 0 seconds"):
        spotter(model, seconds=seconds)
