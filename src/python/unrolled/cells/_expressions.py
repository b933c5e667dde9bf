"""The functions that equations of cells may use, as SymPy functions that stay as they are written.

SymPy's own `exp`, `tanh` and `Max` rewrite themselves (exp(a) * exp(b) becomes exp(a + b)), which
would change what is computed. These do not, and each knows its derivatives by its own value, which
is how the compiled cells write them: 1 - y * y for tanh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import reference
from .._extras import import_extra

sympy: Any = import_extra("sympy", "cells")

Expression = Any
"""A SymPy expression."""


class CellFunction(sympy.Function):
    """A function of an equation.

    `partial(index, arguments, value)` is the derivative by argument `index`; `value` stands for the
    function itself, as a symbol that holds it. `compute` is the function of arrays.
    """

    nargs: Any = 1
    compute: Callable[..., Any]

    @classmethod
    def eval(cls, *arguments: Expression) -> Expression | None:
        if not all(a.is_number for a in arguments):
            return None
        with np.errstate(all="ignore"):
            return sympy.Float(float(cls.compute(*(np.float64(a) for a in arguments))))

    def fdiff(self, argindex: int = 1) -> Expression:
        return self.partial(argindex - 1, self.args, self)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        raise NotImplementedError


class sigmoid(CellFunction):  # noqa: N801
    compute = staticmethod(reference.sigmoid)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        return value * (1 - value)


class tanh(CellFunction):  # noqa: N801
    compute = staticmethod(np.tanh)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        return 1 - value * value


class exp(CellFunction):  # noqa: N801
    compute = staticmethod(np.exp)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        return value


class log1p(CellFunction):  # noqa: N801
    """log(1 + x) for 0 <= x <= 2, where the kernels compute it: a part of softplus alone."""

    compute = staticmethod(np.log1p)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        return 1 / (1 + arguments[0])


class sqrt(CellFunction):  # noqa: N801
    compute = staticmethod(np.sqrt)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        return 1 / (2 * value)


class where_positive(CellFunction):  # noqa: N801
    """The second argument where the first is positive, else the third."""

    nargs = 3

    compute = staticmethod(lambda x, a, b: np.where(x > 0.0, a, b))

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        chosen = ((0, 0), (1, 0), (0, 1))[index]
        return where_positive(arguments[0], *chosen) if index else sympy.Integer(0)


class maximum(CellFunction):  # noqa: N801
    nargs = 2

    compute = staticmethod(np.maximum)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        # The larger with zero is positive where the other is: the value alone is needed then.
        if arguments[1 - index] == 0:
            return where_positive(value, 1, 0)
        chosen = ((1, 0), (0, 1))[index]
        return where_positive(arguments[0] - arguments[1], *chosen)


class minimum(CellFunction):  # noqa: N801
    nargs = 2

    compute = staticmethod(np.minimum)

    @staticmethod
    def partial(index: int, arguments: Any, value: Expression) -> Expression:
        chosen = ((1, 0), (0, 1))[index]
        return where_positive(arguments[1] - arguments[0], *chosen)


FUNCTIONS = (sigmoid, tanh, exp, log1p, sqrt, where_positive, maximum, minimum)
