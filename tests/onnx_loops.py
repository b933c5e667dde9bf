"""ONNX's recurrent operators as loops over rows, steps and gates, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import onnx_nodes as nodes

FUNCTIONS: dict[str, Callable[[float, float, float], float]] = {
    "Relu": lambda x, a, b: max(x, 0.0),
    "Tanh": lambda x, a, b: float(np.tanh(x)),
    "Sigmoid": lambda x, a, b: 1.0 / (1.0 + float(np.exp(-x))),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: x if x >= 0 else a * x,
    "ThresholdedRelu": lambda x, a, b: x if x >= a else 0.0,
    "ScaledTanh": lambda x, a, b: a * float(np.tanh(b * x)),
    "HardSigmoid": lambda x, a, b: min(max(a * x + b, 0.0), 1.0),
    "Elu": lambda x, a, b: x if x >= 0 else a * (float(np.exp(x)) - 1.0),
    "Softsign": lambda x, a, b: x / (1.0 + abs(x)),
    "Softplus": lambda x, a, b: float(np.log(1.0 + np.exp(x))),
}


def functions_of(op_type: str, directions: int, attributes: dict[str, Any]) -> list[Any]:
    """The functions of each direction; parameters are given for all or for none."""
    plain = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
    names = attributes.get("activations", plain[op_type] * directions)
    alphas = iter(attributes.get("activation_alpha", []))
    betas = iter(attributes.get("activation_beta", []))
    functions = [
        np.vectorize(lambda x, f=FUNCTIONS[name], a=a, b=b: f(x, a, b), otypes=[np.float64])
        for name in names
        for a in [next(alphas) if name in nodes.ALPHA else 0.0]
        for b in [next(betas) if name in nodes.BETA else 0.0]
    ]
    count = len(functions) // directions
    return [functions[d * count : (d + 1) * count] for d in range(directions)]


def step(op_type: str, functions: Any, attributes: Any, gates: Any, h: Any, c: Any) -> Any:
    """One row: `gates(g, h)` is W_g x + b_g + R_g h; `gates(g, h, r)` scales the product's part."""
    clip = attributes.get("clip", np.inf)
    f = lambda z: functions[0](np.clip(z, -clip, clip))  # noqa: E731
    if op_type == "RNN":
        return f(gates(0, h)), c
    g = lambda z: functions[1](np.clip(z, -clip, clip))  # noqa: E731
    if op_type == "GRU":
        z, r = f(gates(0, h)), f(gates(1, h))
        after = attributes.get("linear_before_reset", 0)
        candidate = g(gates(2, h, r) if after else gates(2, r * h))
        return (1 - z) * candidate + z * h, c
    peep = gates.peepholes
    i = f(gates(0, h) + peep[0] * c)
    forget = 1 - i if attributes.get("input_forget", 0) else f(gates(2, h) + peep[2] * c)
    c = forget * c + i * g(gates(3, h))
    return f(gates(1, h) + peep[1] * c) * functions[2](c), c


class Row:
    """What the gates of one row and step are computed from."""

    def __init__(self, arrays: dict[str, np.ndarray], d: int, x: np.ndarray) -> None:
        self.hidden = arrays["R"].shape[2]
        self.w, self.r = arrays["W"][d], arrays["R"][d]
        zeros = np.zeros(2 * len(self.w))
        self.wb, self.rb = np.split(arrays["B"][d] if "B" in arrays else zeros, 2)
        self.peepholes = np.split(arrays["P"][d] if "P" in arrays else np.zeros(3 * self.hidden), 3)
        self.x = x

    def __call__(self, gate: int, h: np.ndarray, scale: Any = 1.0) -> np.ndarray:
        rows = slice(gate * self.hidden, (gate + 1) * self.hidden)
        product = self.r[rows] @ h + self.rb[rows]
        return self.w[rows] @ self.x + self.wb[rows] + scale * product


def by_loops(op_type: str, arrays: dict[str, np.ndarray], **attributes: Any) -> list[np.ndarray]:
    """The outputs of a node in float64; with layout 0."""
    direction = attributes.get("direction", "forward")
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    steps, batch, _ = wide["X"].shape
    directions, _, hidden = wide["R"].shape
    lengths = arrays.get("sequence_lens", np.full(batch, steps))
    y = np.zeros((steps, directions, batch, hidden))
    last = np.zeros((2, directions, batch, hidden))
    for d, functions in enumerate(functions_of(op_type, directions, attributes)):
        for b in range(batch):
            states = [
                wide[name][d, b] if name in wide else np.zeros(hidden)
                for name in ("initial_h", "initial_c")
            ]
            order = range(lengths[b])
            for t in reversed(order) if direction == "reverse" or d else order:
                states = step(
                    op_type, functions, attributes, Row(wide, d, wide["X"][t, b]), *states
                )
                y[t, d, b] = states[0]
            last[:, d, b] = states
    return [y, *last[: nodes.STATES[op_type]]]
