"""What the gates of a cell apply, where that can be chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: The functions, and which of alpha and beta they have: None is a parameter without a default.
#: Defaults are those of ONNX's operators of the same names; its ScaledTanh has none.
_PARAMETERS: Mapping[str, Mapping[str, float | None]] = {
    "sigmoid": {},
    "tanh": {},
    "relu": {},
    "affine": {"alpha": 1.0, "beta": 0.0},
    "leaky_relu": {"alpha": 0.01},
    "thresholded_relu": {"alpha": 1.0},
    "scaled_tanh": {"alpha": None, "beta": None},
    "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
    "elu": {"alpha": 1.0},
    "softsign": {},
    "softplus": {},
}


@dataclass(frozen=True)
class GateFunction:
    """A function of a gate, y = f(x), element by element.

        sigmoid           1 / (1 + exp(-x))         hard_sigmoid      min(max(alpha x + beta, 0), 1)
        tanh              tanh(x)                   scaled_tanh       alpha tanh(beta x)
        relu              max(x, 0)                 leaky_relu        x where x > 0, else alpha x
        affine            alpha x + beta            thresholded_relu  x where x >= alpha, else 0
        softsign          x / (1 + |x|)             elu               x where x > 0, else
        softplus          log(1 + exp(x))                             alpha (exp(x) - 1)

    At a corner the gradient of relu, leaky_relu and elu is that of the left side, of hard_sigmoid
    0, and of thresholded_relu 1.

    Attributes:
        name: one of these.
        alpha, beta: None stands for ONNX's default: hard_sigmoid 0.2 and 0.5 (which Keras 2 has;
            Keras 3 has 1/6 and 0.5), affine 1 and 0, leaky_relu 0.01, thresholded_relu 1, elu 1.

    Source: the operators RNN, GRU and LSTM of ONNX.

    Raises:
        ValueError: another name, a parameter that the function has not, none where it needs one, or
            one that is not finite.
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _PARAMETERS:
            raise ValueError(
                f"[gates] expected a function out of {', '.join(_PARAMETERS)}, got {self.name!r}"
            )
        for kind, default in _PARAMETERS[self.name].items():
            if getattr(self, kind) is None:
                if default is None:
                    raise ValueError(f"[gates] expected {kind} for {self.name}, got None")
                object.__setattr__(self, kind, default)
        for kind in ("alpha", "beta"):
            value = getattr(self, kind)
            if value is None:
                continue
            if kind not in _PARAMETERS[self.name]:
                raise ValueError(f"[gates] expected no {kind}, which {self.name} has not")
            if not math.isfinite(value):
                raise ValueError(f"[gates] expected a finite {kind}, got {value}")

    def __str__(self) -> str:
        values = {kind: getattr(self, kind) for kind in _PARAMETERS[self.name]}
        if values == _PARAMETERS[self.name]:
            return self.name
        return f"{self.name}({', '.join(f'{kind}={value:g}' for kind, value in values.items())})"


@dataclass(frozen=True)
class Gates:
    """What the gates of a cell with `functions` (see `CellInfo`) apply.

    Attributes:
        functions: in the order of the cell.
        clip: gates read their pre-activation z as min(max(z, -clip), clip), and no gradient passes
            where that changed it; None: as it is. ONNX's clip.
        coupled: f = 1 - i in an LSTM. ONNX's input_forget.

    Raises:
        ValueError: a clip that is not > 0.
    """

    functions: tuple[GateFunction, ...]
    clip: float | None = None
    coupled: bool = False

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"[gates] expected clip > 0 or None, got {self.clip}")

    def arguments(self) -> tuple[list[tuple[str, float, float]], float, bool]:
        """What the extension takes."""
        functions = [(each.name, each.alpha or 0.0, each.beta or 0.0) for each in self.functions]
        return functions, math.inf if self.clip is None else self.clip, self.coupled


def gate_functions() -> Mapping[str, Mapping[str, float | None]]:
    """The names of functions, with the defaults of the parameters that they have, or None."""
    return _PARAMETERS


#: Of a cell whose functions are its own, or those it has by default.
NO_CHOICE = Gates(())
