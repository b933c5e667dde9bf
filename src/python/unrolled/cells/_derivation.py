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
    order = [symbol for symbol, _ in values]

    # Reverse mode: `terms` collects what each symbol's gradient is the sum of.
    terms: dict[Any, list[Expression]] = {}
    gradients: Code = []

    def add(expression: Expression, gradient: Expression) -> None:
        for symbol in sorted(expression.free_symbols, key=str):
            terms.setdefault(symbol, []).append(gradient * sympy.diff(expression, symbol))

    def total(symbol: Any) -> Expression:
        return sympy.Add(*terms.get(symbol, ()))

    for gradient, output in zip(symbols.dstates, outputs, strict=True):
        add(output, gradient)
    expressions = dict(values)
    for symbol in reversed(order):
        gradient = total(symbol)
        if gradient == 0:
            continue
        expression = expressions[symbol]
        if not isinstance(expression, CellFunction):
            add(expression, _named(gradients, f"g_{symbol}", gradient))
            continue
        arguments = expression.args
        if len(arguments) > 1:
            gradient = _named(gradients, f"g_{symbol}", gradient)
        for index, argument in enumerate(arguments):
            partial = expression.partial(index, arguments, symbol)
            if argument.free_symbols and partial != 0:
                slope = _named(gradients, f"g_{symbol}_{index}", gradient * partial)
                add(argument, slope)

    dx = [total(symbols.sum[g] if g in sums else symbols.x[g]) for g in symbols.gates]
    du = [total(symbols.sum[g] if g in sums else symbols.u[g]) for g in symbols.gates]
    dstates = [total(symbol) for symbol in symbols.states]
    dunits = [total(symbol) for symbol in symbols.units]
    results = [*dx, *du, *dstates, *dunits]

    leaves = {*symbols.sum.values(), *symbols.x.values(), *symbols.u.values()}
    needed = _reached(results, gradients) & ({*order} | leaves)
    known = {*symbols.states, *symbols.units}
    saved = _choose_saved(needed, values, known)
    # The kernels read no saved values as "none are stored".
    saved = saved or {order[0] if order else sorted(leaves & _symbols_of(outputs), key=str)[0]}
    again = [(s, e) for s, e in values if s in _missing(needed, saved, expressions)]
    backward, results = _shared([*again, *gradients], results, "e")

    recurrent = not _symbols_of(equations).isdisjoint(symbols.u.values())
    count = len(symbols.gates)
    rest = results[2 * count :]
    return Derivation(
        sums=sums,
        forward=values,
        next=outputs,
        saved=sorted(saved, key=lambda s: (order.index(s) if s in order else -1, str(s))),
        backward=backward,
        dx=results[:count],
        du=results[count : 2 * count],
        dstates=rest[: len(symbols.states)],
        dunits=rest[len(symbols.states) :],
        recurrent=recurrent,
        split=recurrent and dx != du,
    )


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


def _named(code: Code, name: str, expression: Expression) -> Expression:
    """The expression, under a name of its own unless it is one or a number."""
    if expression.is_Symbol or expression.is_number:
        return expression
    symbol = sympy.Symbol(name)
    code.append((symbol, expression))
    return symbol


def _symbols_of(expressions: Iterable[Expression]) -> set[Any]:
    return set().union(*(e.free_symbols for e in expressions))


def _reached(results: Iterable[Expression], code: Code) -> set[Any]:
    """All symbols that the results depend on."""
    return _missing(_symbols_of(results), set(), dict(code))


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
