"""The header of a cell, as `cells/all.hpp` among the C++ sources asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._derivation import Code, Derivation
from ._expressions import CellFunction, Expression, maximum, minimum, sympy, where_positive
from ._symbols import Symbols


def header(name: str, symbols: Symbols, derivation: Derivation) -> str:
    """The C++ struct `Cell` with the code of a step and of its transpose."""
    d = derivation
    states, units = tuple(symbols.state), tuple(symbols.unit)
    inputs = _places("x", symbols.x.values()) | _places("u", symbols.u.values())
    given = _places("state", symbols.states) | _places("p", symbols.units)

    sums = [(symbols.sum[g], symbols.x[g] + symbols.u[g]) for g in symbols.gates if g in d.sums]
    ahead = Text(inputs | given)
    ahead.define([*sums, *d.forward])
    ahead.assign("next", d.next)
    ahead.assign("saved", d.saved)

    back = Text(given)
    back.read("d", symbols.dstates)
    back.read("saved", d.saved)
    back.define(d.backward)
    back.assign("dx", d.dx)
    if d.split:
        back.assign("du", d.du)
    back.assign("d", d.dstates)
    back.assign("dp", d.dunits)

    named_units = f"""\
  static constexpr const char* kUnitNames[] = {{{_strings(units)}}};
  static constexpr int kUnitCount = {len(units)};
"""
    return f"""\
// The cell {name}, derived from its equations.
#pragma once

#include "cells/base.hpp"

namespace unrolled::UNROLLED_ISA {{

struct Cell : CellBase {{
  static constexpr const char* kName = "{name}";
  static constexpr const char* kGates[] = {{{_strings(symbols.gates)}}};
  static constexpr const char* kStates[] = {{{_strings(states)}}};
  static constexpr int kGateCount = {len(symbols.gates)}, kStateCount = {len(states)};
  static constexpr int kSavedCount = {len(d.saved)};
  static constexpr bool kSplitGradient = {str(d.split).lower()};
  static constexpr bool kRecurrent = {str(d.recurrent).lower()};
{named_units if units else ""}
  template <class V>
  UNROLLED_INLINE void forward(const V* x, const V* u, const V* p, const V* state, V* next,
                               V* saved) {{
{ahead.lines}  }}

  template <class V>
  UNROLLED_INLINE void backward(const V* saved, const V* p, const V* state, V* d, V* dx, V* du,
                                V* dp) {{
{back.lines}  }}
}};

}}  // namespace unrolled::UNROLLED_ISA
"""


class Text:
    """Statements of a function, in which some symbols stand for elements of its arguments."""

    def __init__(self, places: Mapping[Any, str]) -> None:
        self._places = dict(places)
        self.lines = ""

    def read(self, array: str, symbols: Iterable[Any]) -> None:
        for index, symbol in enumerate(symbols):
            self._line(f"const V {symbol} = {array}[{index}]")

    def define(self, code: Code) -> None:
        for symbol, expression in code:
            self._line(f"const V {symbol} = {self._print(expression)}")

    def assign(self, array: str, expressions: Sequence[Expression]) -> None:
        for index, expression in enumerate(expressions):
            self._line(f"{array}[{index}] = {self._print(expression)}")

    def _line(self, statement: str) -> None:
        self.lines += f"    {statement};\n"

    def _print(self, expression: Expression) -> str:
        if expression.is_Symbol:
            return self._places.get(expression) or str(expression)
        if expression.is_number:
            return _number(expression)
        if expression.is_Add:
            return self._sum(expression)
        if expression.is_Mul:
            return self._product(expression)
        if expression.is_Pow:
            return self._power(expression.base, expression.exp)
        return self._call(expression)

    def _sum(self, expression: Expression) -> str:
        terms = sorted(expression.as_ordered_terms(), key=lambda t: t.could_extract_minus_sign())
        text = self._print(terms[0])
        for term in terms[1:]:
            negative = term.could_extract_minus_sign()
            text += " - " + self._factor(-term) if negative else " + " + self._print(term)
        return text

    def _product(self, expression: Expression) -> str:
        chosen = [f for f in expression.args if _chooses_numbers(f)]
        if chosen:  # a selection, not a product with zero or one
            test, yes, no = chosen[0].args
            rest = sympy.Mul(*(f for f in expression.args if f is not chosen[0]))
            return self._call(where_positive(test, yes * rest, no * rest))
        number, rest = expression.as_coeff_Mul()
        if number.is_negative:
            return "-" + self._atom(-expression)
        above, below = sympy.fraction(rest)  # of this product alone, not of sums in it
        factors = [number] if number != 1 or above == 1 else []
        factors += above.as_ordered_factors() if above != 1 else []
        text = " * ".join(self._atom(factor) for factor in factors)
        return text if below == 1 else f"{text} / {self._atom(below)}"

    def _power(self, base: Expression, exponent: Expression) -> str:
        if exponent.is_negative:
            return f"V(1) / {self._atom(sympy.Pow(base, -exponent))}"
        if exponent.is_Integer:
            return " * ".join([self._atom(base)] * int(exponent))
        root = f"sqrt({self._print(base)})"
        whole = exponent - sympy.Rational(1, 2)
        return root if whole == 0 else f"{root} * {self._power(base, whole)}"

    def _call(self, expression: Expression) -> str:
        name, arguments = expression.func.__name__, expression.args
        if isinstance(expression, maximum | minimum):
            # A number goes behind: the instruction keeps a NaN of the first.
            arguments = sorted(arguments, key=lambda a: a.is_number)
            if arguments[1].is_number:
                name = name[:3]
        return f"{name}({', '.join(map(self._print, arguments))})"

    def _factor(self, expression: Expression) -> str:
        """The expression as a part of a product or behind a minus."""
        return self._print(expression) if not expression.is_Add else self._atom(expression)

    def _atom(self, expression: Expression) -> str:
        text = self._print(expression)
        plain = expression.is_Symbol or isinstance(expression, CellFunction)
        return text if plain or (expression.is_number and text[0] == "V") else f"({text})"


def _number(expression: Expression) -> str:
    value = float(expression)
    return f"V({int(value) if value == int(value) and abs(value) < 1e6 else value!r})"


def _chooses_numbers(factor: Expression) -> bool:
    return isinstance(factor, where_positive) and all(a.is_number for a in factor.args[1:])


def _places(array: str, symbols: Iterable[Any]) -> dict[Any, str]:
    return {symbol: f"{array}[{index}]" for index, symbol in enumerate(symbols)}


def _strings(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
