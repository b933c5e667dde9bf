"""Small language models for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled import LanguageModel
from unrolled.tasks import language_model as lm
from unrolled.tasks._text import Vocabulary

TEXT = "the cat sees a dog. the dog's cat hears the bird, and a bird sees the cat.\n" * 12


def make_model(
    text: str = TEXT, level: Any = "char", seed: int = 0, min_count: int = 1, **sizes: Any
) -> lm.TextModel:
    """An untrained model with weights large enough to have opinions."""
    vocabulary = Vocabulary.build([text], level, min_count=min_count)
    rng = np.random.default_rng(seed)
    sizes = {"embedding_size": 7, "hidden_size": 9, **sizes}
    model = LanguageModel(len(vocabulary), rng=rng, **sizes)
    model.flat.values[:] += rng.normal(size=model.flat.values.shape).astype(np.float32) * 0.7
    return lm.TextModel(model, vocabulary, lm.Options(level=level))
