"""From the equations of a cell to straight-line code for a step and for its transpose.

The equations become a graph of values: each call of a function, and each sum or product that is
used more than once. The transpose walks it backwards, one gradient a value (reverse mode).
What it needs of the forward pass is read again where it is an entering state or a parameter, and
else either saved or computed again from what is saved, whichever is cheaper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ._expressions import CellFunction, Expression, sympy
from ._symbols import Symbols

# What memory traffic of a saved value costs beside computing exp, tanh and the like once, and
# beside other operations.
_SAVED, _FUNCTION, _OPERATION = 1.5, 1.0, 0.05
_CHEAP = ("maximum", "minimum", "where_positive")

Code = list[tuple[Any, Expression]]
"""Assignments (symbol, expression) in an order in which they can be computed."""


@dataclass(frozen=True)
class Derivation:
    """A cell's step and its transpose.

    Attributes:
        sums: names of gates whose input and recurrent part are used through their sum alone.
        forward: values, of which `saved` and `next` may be.
        next: of each state, the expression that it becomes.
        saved: values that the transpose reads.
        backward: gradients, and values computed again.
        dx, du, dstates, dunits: gradients of each gate's parts, entering state and parameter.
        recurrent: whether any recurrent part is used.
        split: whether dx and du differ where there is a recurrent part.
    """

    sums: tuple[str, ...]
    forward: Code
    next: list[Expression]
    saved: list[Any]
    backward: Code
    dx: list[Expression]
    du: list[Expression]
    dstates: list[Expression]
    dunits: list[Expression]
    recurrent: bool
    split: bool


def derive(symbols: Symbols, equations: Sequence[Expression]) -> Derivation:
    """Derives the code of a cell whose states become `equations`."""
    sums, outputs = _sums(symbols, equations)
    values, outputs = _graph(outputs)
    expressions = dict(values)

    reverse = _Reverse()
    for gradient, output in zip(symbols.dstates, outputs, strict=True):
        reverse.add(output, gradient)
    for symbol, expression in reversed(values):
        reverse.through(symbol, expression)
    x, u = ({**of, **{g: symbols.sum[g] for g in sums}} for of in (symbols.x, symbols.u))
    inputs = [*x.values(), *u.values(), *symbols.states, *symbols.units]
    results = [reverse.total(symbol) for symbol in inputs]

    given = {*symbols.states, *symbols.units}
    leaves = {*x.values(), *u.values()}
    reached = _missing(_symbols_of(results), given, dict(reverse.code))
    needed = reached & (leaves | set(expressions))
    saved = _choose_saved(needed, values, given)
    if not saved:  # which the kernels would take for "not stored"
        saved = {min(leaves & _symbols_of([*outputs, *expressions.values()]), key=str)}
    again = _missing(needed, saved, expressions)
    backward, results = _shared(
        [*((s, e) for s, e in values if s in again), *reverse.code], results, "e"
    )

    recurrent = not _symbols_of(equations).isdisjoint(symbols.u.values())
    gates, states = len(symbols.gates), len(symbols.states)
    dx, du, rest = results[:gates], results[gates : 2 * gates], results[2 * gates :]
    return Derivation(
        sums=sums,
        forward=values,
        next=outputs,
        saved=sorted(saved, key=str),
        backward=backward,
        dx=dx,
        du=du,
        dstates=rest[:states],
        dunits=rest[states:],
        recurrent=recurrent,
        split=recurrent and dx != du,
    )


class _Reverse:
    """Gradients of symbols, as sums of terms that what is computed of them contributes."""

    def __init__(self) -> None:
        self.code: Code = []
        self._terms: dict[Any, list[Expression]] = {}

    def add(self, expression: Expression, gradient: Expression) -> None:
        """Adds what a sum or product with this gradient contributes."""
        for symbol in sorted(expression.free_symbols, key=str):
            slope = gradient * sympy.diff(expression, symbol)
            self._terms.setdefault(symbol, []).append(slope)

    def total(self, symbol: Any) -> Expression:
        return sympy.Add(*self._terms.get(symbol, ()))

    def through(self, symbol: Any, expression: Expression) -> None:
        """Adds what a value contributes, whose own gradient is complete."""
        gradient = self.total(symbol)
        if gradient == 0:
            return
        if not isinstance(expression, CellFunction):
            self.add(expression, self._named(f"g_{symbol}", gradient))
            return
        arguments = expression.args
        if len(arguments) > 1:
            gradient = self._named(f"g_{symbol}", gradient)
        for index, argument in enumerate(arguments):
            slope = gradient * expression.partial(index, arguments, symbol)
            if argument.free_symbols and slope != 0:
                self.add(argument, self._named(f"g_{symbol}_{index}", slope))

    def _named(self, name: str, expression: Expression) -> Expression:
        """The expression, under a name of its own unless it is one or a number."""
        if expression.is_Symbol or expression.is_number:
            return expression
        symbol = sympy.Symbol(name)
        self.code.append((symbol, expression))
        return symbol


def _sums(
    symbols: Symbols, equations: Sequence[Expression]
) -> tuple[tuple[str, ...], list[Expression]]:
    """Replaces x + u of a gate by one symbol where the equations use nothing else of both."""
    sums, expressions = [], list(equations)
    for gate in symbols.gates:
        x, u, z = symbols.x[gate], symbols.u[gate], symbols.sum[gate]
        replaced = [e.xreplace({u: z - x}) for e in expressions]
        if z in _symbols_of(replaced) and x not in _symbols_of(replaced):
            sums.append(gate)
            expressions = replaced
    return tuple(sums), expressions


def _graph(outputs: Sequence[Expression]) -> tuple[Code, list[Expression]]:
    """Values in the order of their computation, and the outputs in terms of them."""
    values: Code = []
    names: dict[Expression, Any] = {}

    def lower(expression: Expression) -> Expression:
        if not expression.args:
            return expression
        lowered = expression.func(*(lower(argument) for argument in expression.args))
        if not isinstance(lowered, CellFunction):
            return lowered
        if lowered not in names:
            names[lowered] = sympy.Symbol(f"{lowered.func.__name__}{len(values)}")
            values.append((names[lowered], lowered))
        return names[lowered]

    outputs = [lower(output) for output in outputs]
    return _shared(values, outputs, "t")


def _shared(
    code: Code, results: Sequence[Expression], prefix: str
) -> tuple[Code, list[Expression]]:
    """Names subexpressions that occur more than once; sorts the code anew."""
    fresh = sympy.numbered_symbols(prefix)
    shared, reduced = sympy.cse([*(e for _, e in code), *results], symbols=fresh)
    # A negated symbol is no shorter under a name of its own.
    signs = {symbol: e for symbol, e in shared if (-e).is_Symbol}
    shared = [(symbol, e.xreplace(signs)) for symbol, e in shared if symbol not in signs]
    reduced = [e.xreplace(signs) for e in reduced]
    pending = dict(shared)
    pending.update(zip((symbol for symbol, _ in code), reduced, strict=False))
    ordered: Code = []

    def place(symbols: Iterable[Any]) -> None:
        for symbol in sorted(symbols, key=str):
            if symbol in pending:
                expression = pending.pop(symbol)
                place(expression.free_symbols)
                ordered.append((symbol, expression))

    results = reduced[len(code) :]
    place(symbol for symbol, _ in code)
    place(_symbols_of(results))
    return ordered, results


def _symbols_of(expressions: Iterable[Expression]) -> set[Any]:
    return set().union(*(e.free_symbols for e in expressions))


def _missing(needed: set[Any], given: set[Any], expressions: dict[Any, Expression]) -> set[Any]:
    """`needed` and what it depends on, without what is given."""
    found: set[Any] = set()
    todo = list(needed - given)
    while todo:
        symbol = todo.pop()
        if symbol not in found:
            found.add(symbol)
            if symbol in expressions:
                todo += expressions[symbol].free_symbols - given
    return found


def _choose_saved(needed: set[Any], values: Code, known: set[Any]) -> set[Any]:
    """Begins with all that is needed and drops what is cheaper to compute again."""
    expressions = dict(values)

    def cost(saved: set[Any]) -> float:
        total = _SAVED * len(saved)
        for symbol in _missing(needed, saved | known, expressions):
            if symbol not in expressions:
                return float("inf")
            expression = expressions[symbol]
            cheap = getattr(expression.func, "__name__", "") in _CHEAP
            function = isinstance(expression, CellFunction) and not cheap
            total += _FUNCTION * function + _OPERATION * int(expression.count_ops())
        return total

    def smaller(saved: set[Any]) -> Iterator[set[Any]]:
        return (saved - {symbol} for symbol in sorted(saved, key=str))

    saved = set(needed)
    while saved:
        best = min(smaller(saved), key=cost)
        if cost(best) >= cost(saved):
            break
        saved = best
    return saved
