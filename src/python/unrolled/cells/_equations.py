"""Writing down the equations of a cell, and refusing those that cannot become one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._expressions import FUNCTIONS, Expression, sympy
from ._symbols import Names, Symbols
from ._twin import twin

# What grows by a factor a step would be beyond float32 after so many.
_PADDED_STEPS, _LARGEST = 200, 1e30
_LARGEST_POWER = 16
_OPERATIONS = (sympy.Symbol, sympy.Number, sympy.NumberSymbol, sympy.Add, sympy.Mul)


def write_down(where: str, function: Callable[..., Any], symbols: Symbols) -> list[Expression]:
    """Calls the function with symbols; returns the new states, in the order of the states.

    Raises:
        ValueError: the states are not those that were declared, an expression holds what the
            kernels have no function for, a gate is not used, or a padded unit would not
            keep its output zero.
    """
    arguments = [
        Names(where, "gate", symbols.x),
        Names(where, "gate", symbols.u),
        Names(where, "state", symbols.state),
    ]
    letters = "x, u, s"
    if symbols.units:
        arguments.append(Names(where, "parameter", symbols.unit))
        letters += ", p"
    parameters = inspect.signature(function).parameters
    if len(parameters) != len(arguments):
        raise ValueError(
            f"[{where}] expected a function of ({letters}), got one of ({', '.join(parameters)})"
        )
    try:
        result = function(*arguments)
    except TypeError as error:
        if "truth value" not in str(error):
            raise
        raise ValueError(
            f"[{where}] expected equations without a condition; choose by where_positive or maximum"
        ) from error
    states = ", ".join(symbols.state)
    if not isinstance(result, Mapping) or set(result) != set(symbols.state):
        got = ", ".join(map(str, result)) if isinstance(result, Mapping) else type(result).__name__
        raise ValueError(f"[{where}] expected a dict of the new states {states}, got {got}")
    equations = [_checked(where, state, result[state], symbols) for state in symbols.state]
    used = set().union(*(equation.free_symbols for equation in equations))
    for gate in symbols.gates:
        if not {symbols.x[gate], symbols.u[gate]} & used:
            raise ValueError(f"[{where}] expected gate {gate} to be used, it is not")
    for unit, symbol in symbols.unit.items():
        if symbol not in used:
            raise ValueError(f"[{where}] expected parameter {unit} to be used, it is not")
    _check_padding(where, symbols, equations)
    return equations


def _checked(where: str, state: str, value: Any, symbols: Symbols) -> Expression:
    try:
        equation = sympy.sympify(value)
    except (sympy.SympifyError, TypeError) as error:
        raise ValueError(f"[{where}] expected an expression for {state}, got {value!r}") from error
    names = ", ".join(f.__name__ for f in FUNCTIONS if f.__name__ != "log1p")
    for part in sympy.preorder_traversal(equation):
        if isinstance(part, sympy.Symbol) and part not in symbols.arguments:
            raise ValueError(f"[{where}] expected the symbols of its arguments alone, got {part}")
        known = isinstance(part, _OPERATIONS) and (part.is_finite or not part.is_number)
        power = isinstance(part, sympy.Pow) and (2 * part.exp).is_Integer
        power = power and abs(part.exp) <= _LARGEST_POWER
        if not (known or power or isinstance(part, FUNCTIONS)):
            raise ValueError(
                f"[{where}] expected + - * /, integer powers up to {_LARGEST_POWER}, numbers and "
                f"functions out of unrolled.cells ({names}), got {part} in the equation of {state}"
            )
    return equation


def _check_padding(where: str, symbols: Symbols, equations: list[Expression]) -> None:
    """A unit of zeros has to keep its output zero and all else finite, gradients too."""
    cell = twin(where, symbols, equations, recurrent=True)
    parts = np.zeros((1, len(symbols.gates)))
    units = tuple(np.zeros(1) for _ in symbols.units)
    states = tuple(np.zeros((1, 1)) for _ in symbols.states)
    padded = "since vectors are padded with such units"
    with np.errstate(all="ignore"):
        for _ in range(_PADDED_STEPS):
            states, saved = cell.step(parts, parts, units, states)
            for index, (name, state) in enumerate(zip(symbols.state, states, strict=True)):
                value = state.item()
                if not abs(value) < _LARGEST or (index == 0 and value != 0.0):
                    raise ValueError(
                        f"[{where}] expected a unit whose parts, parameters and states are zero to "
                        f"keep its output zero and its states finite, {padded}; "
                        f"{name} becomes {value}"
                    )
            ones = tuple(np.ones((1, 1)) for _ in states)
            da, dr, dp, before = cell.step_backward(saved, units, ones)
            if not all(np.isfinite(gradient).all() for gradient in (da, dr, *dp, *before)):
                raise ValueError(
                    f"[{where}] expected the gradients of a unit of zeros to be finite, {padded}; "
                    "some are not"
                )
