"""The functions for equations of cells. SymPy is imported when the first of them is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

Expression = Any


def _apply(name: str, *arguments: Expression) -> Expression:
    return getattr(import_module("._expressions", __package__), name)(*arguments)


def sigmoid(x: Expression) -> Expression:
    """1 / (1 + e^-x)."""
    return _apply("sigmoid", x)


def tanh(x: Expression) -> Expression:
    """The hyperbolic tangent."""
    return _apply("tanh", x)


def exp(x: Expression) -> Expression:
    """e^x, for -87 <= x <= 88 in float32 and -708 <= x <= 709 in float64.

    Beyond, it is the value at the edge: keep x inside, by a stabiliser or a gate that is bounded.
    """
    return _apply("exp", x)


def sqrt(x: Expression) -> Expression:
    """The square root of x > 0; at 0 it has no derivative."""
    return _apply("sqrt", x)


def maximum(a: Expression, b: Expression) -> Expression:
    """The larger of both. Where they are equal the gradient is that of b; of relu, 0."""
    return _apply("maximum", a, b)


def minimum(a: Expression, b: Expression) -> Expression:
    """The smaller of both. Where they are equal the gradient is that of b."""
    return _apply("minimum", a, b)


def relu(x: Expression) -> Expression:
    """max(x, 0)."""
    return maximum(x, 0)


def absolute(x: Expression) -> Expression:
    """|x|; the derivative at 0 is -1."""
    return maximum(x, -x)


def softplus(x: Expression) -> Expression:
    """log(1 + e^x), computed as max(x, 0) + log(1 + e^-|x|)."""
    return relu(x) + _apply("log1p", _apply("exp", -absolute(x)))


def where_positive(x: Expression, a: Expression, b: Expression) -> Expression:
    """a where x > 0, else b. No gradient passes to x."""
    return _apply("where_positive", x, a, b)
