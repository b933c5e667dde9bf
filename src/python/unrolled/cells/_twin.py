"""A cell's twin in NumPy, for `unrolled.reference`: the equations and their plain derivatives.

It shares nothing with the compiled cell but the equations: SymPy differentiates each new state by
each symbol, without the graph that the C++ is written from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import reference
from ._expressions import FUNCTIONS, Expression, sympy
from ._symbols import Symbols

_NUMPY = {function.__name__: function.compute for function in FUNCTIONS}


def twin(
    name: str, symbols: Symbols, equations: Sequence[Expression], *, recurrent: bool
) -> reference.Cell:
    """The reference's cell with these equations."""
    gates, units = len(symbols.gates), len(symbols.units)
    states = len(symbols.states)
    inputs = [*symbols.x.values(), *symbols.u.values(), *symbols.units, *symbols.states]
    step = _function(inputs, equations)
    # Row s, column k: the derivative of new state s by input k.
    slopes = [[sympy.diff(e, symbol) for symbol in inputs] for e in equations]
    slope = _function(inputs, [s for row in slopes for s in row])

    def forward(a: Any, r: Any, p: Any, before: Any) -> Any:
        parts = (*np.split(a, gates, axis=1), *np.split(r, gates, axis=1), *p, *before)
        return _like(before[0], step(*parts)), parts

    def backward(saved: Any, p: Any, dafter: Any) -> Any:
        flat = _like(dafter[0], slope(*saved))
        rows = [flat[i * len(inputs) : (i + 1) * len(inputs)] for i in range(states)]
        sums = [
            sum(d * row[k] for d, row in zip(dafter, rows, strict=True)) for k in range(len(inputs))
        ]
        return (
            np.concatenate(sums[:gates], axis=1),
            np.concatenate(sums[gates : 2 * gates], axis=1),
            tuple(sums[2 * gates : 2 * gates + units]),
            tuple(sums[2 * gates + units :]),
        )

    return reference.Cell(
        name, symbols.gates, tuple(symbols.state), forward, backward, tuple(symbols.unit), recurrent
    )


def _function(inputs: Sequence[Any], expressions: Sequence[Expression]) -> Callable[..., Any]:
    function: Callable[..., Any] = sympy.lambdify(
        inputs, list(expressions), modules=[_NUMPY, "numpy"], cse=True
    )
    return function


def _like(array: Any, values: Sequence[Any]) -> tuple[Any, ...]:
    """The values as arrays of one shape: a derivative may be a mere number."""
    return tuple(np.broadcast_to(np.asarray(v, np.float64), array.shape) for v in values)
