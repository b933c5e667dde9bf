"""A model that plain values describe, so that a file can hold it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ..layers import Initialiser, Layer
from ..layers._initialisers import zeros_within
from ..layers._types import Array

ModelT = TypeVar("ModelT", bound="ConfiguredModel")


class ConfiguredModel(Layer):
    """A layer whose constructor takes its own `config` as keywords, and `init` and `rng`.

    Attributes:
        config: the architecture as plain values, ready for JSON; see `from_config`.
    """

    config: dict[str, Any]

    @classmethod
    def from_config(
        cls: type[ModelT],
        config: Mapping[str, Any],
        *,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> ModelT:
        """Builds the architecture that `model.config` describes, with new parameters."""
        build: Callable[..., ModelT] = cls  # of a derived class, whose keywords these are
        return build(**config, init=init, rng=rng)

    @classmethod
    def from_parameters(
        cls: type[ModelT], config: Mapping[str, Any], parameters: Mapping[str, Array]
    ) -> ModelT:
        """Builds the architecture that `model.config` describes, with these parameters.

        Neither is trusted: no more is allocated than the parameters take.

        Raises:
            ValueError: the architecture is not that of the parameters.
            TypeError: something is missing or of another kind.
        """
        count = sum(array.size for array in parameters.values())
        model = cls.from_config(config, init=zeros_within(count))
        model.load_parameters(parameters)
        return model
