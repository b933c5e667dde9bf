"""The activation functions that ONNX's recurrent operators name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..layers._types import Array


@dataclass(frozen=True)
class Activation:
    """One of the functions, y = f(x), element by element.

    Attributes:
        name: as ONNX writes it, as "LeakyRelu".
        alpha, beta: its parameters; 0 where it has none.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        y: Array = _FUNCTIONS[self.name].function(x, self.alpha, self.beta)
        return y


@dataclass(frozen=True)
class _Function:
    """A function (x, alpha, beta) -> y, and which parameters it has.

    Attributes:
        alpha, beta: "none", "needed", or what it is where a node says nothing.
    """

    function: Callable[[Array, float, float], Array]
    alpha: float | str = "none"
    beta: float | str = "none"


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), by the exponential that does not overflow."""
    small = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, small) / (1 + small)
    return y


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


# Defaults are those of ONNX's operators of the same names; its ScaledTanh had none.
_FUNCTIONS: Mapping[str, _Function] = {
    "Relu": _Function(lambda x, a, b: np.maximum(x, 0)),
    "Tanh": _Function(lambda x, a, b: np.tanh(x)),
    "Sigmoid": _Function(lambda x, a, b: _sigmoid(x)),
    "Affine": _Function(lambda x, a, b: a * x + b, 1.0, 0.0),
    "LeakyRelu": _Function(lambda x, a, b: np.where(x >= 0, x, a * x), 0.01),
    "ThresholdedRelu": _Function(lambda x, a, b: np.where(x < a, 0, x), 1.0),
    "ScaledTanh": _Function(lambda x, a, b: a * np.tanh(b * x), "needed", "needed"),
    "HardSigmoid": _Function(lambda x, a, b: np.minimum(np.maximum(a * x + b, 0), 1), 0.2, 0.5),
    "Elu": _Function(lambda x, a, b: _elu(x, a), 1.0),
    "Softsign": _Function(lambda x, a, b: x / (1 + np.abs(x))),
    "Softplus": _Function(lambda x, a, b: np.logaddexp(x, 0)),
}

_NAMES = {name.lower(): name for name in _FUNCTIONS}


def read_activations(
    where: str, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> tuple[Activation, ...]:
    """Returns a node's functions, in its order.

    Those that have a parameter take the values one after the other; where values are fewer, the
    functions that are left take their defaults.

    Args:
        where: the node, for errors.
        names: in any case of letters.
        alphas, betas: the attributes activation_alpha and activation_beta.

    Raises:
        ValueError: a name that ONNX does not have, more values than functions that take one (which
            values are meant is then open), or none for a function without a default.
    """
    if unknown := [name for name in names if name.lower() not in _NAMES]:
        raise ValueError(
            f"{where} expected activations out of {', '.join(_FUNCTIONS)}, got {unknown}"
        )
    known = [_NAMES[name.lower()] for name in names]
    values = [
        _consumed(where, kind, known, given) for kind, given in (("alpha", alphas), ("beta", betas))
    ]
    return tuple(Activation(*each) for each in zip(known, *values, strict=True))


def _consumed(where: str, kind: str, names: Sequence[str], given: Sequence[float]) -> list[float]:
    defaults = [getattr(_FUNCTIONS[name], kind) for name in names]
    takers = [name for name, default in zip(names, defaults, strict=True) if default != "none"]
    if takers and len(given) > len(takers):
        raise ValueError(
            f"{where} expected activation_{kind} with no more values than functions that take "
            f"one, {takers}, got {list(given)}"
        )
    rest: Iterator[float] = iter(given)
    result = []
    for name, default in zip(names, defaults, strict=True):
        value = 0.0 if default == "none" else next(rest, default)
        if value == "needed":
            raise ValueError(f"{where} expected activation_{kind} for {name}, which has no default")
        result.append(float(value))
    return result
