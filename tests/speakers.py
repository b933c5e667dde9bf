"""Features for tests of what is learned of a speaker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unrolled.audio import FeatureSettings, SpeakerNormalisation

F = 6
SETTINGS = FeatureSettings(bands=F)


def talk(
    rng: np.random.Generator, frames: int, *, speech: float = 0.6, quiet: float = 5.0
) -> np.ndarray:
    """Features (T, F) of bursts of speech among noise, logs of energy."""
    loud = np.repeat(rng.random(-(-frames // 20)) < speech, 20)[:frames]
    x = quiet + 0.1 * rng.standard_normal((frames, F))
    x[loud] += 4.0 + rng.standard_normal((int(loud.sum()), F))
    return x.astype(np.float32)


def fitted(**changed: Any) -> SpeakerNormalisation:
    rng = np.random.default_rng(0)
    return replace(SpeakerNormalisation.of_speech([talk(rng, 400)], SETTINGS), **changed)
