"""The symbols that the equations of a cell are written in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._expressions import sympy


class Symbols:
    """The symbols of a cell, by gate, state and parameter name."""

    def __init__(
        self, gates: tuple[str, ...], states: tuple[str, ...], units: tuple[str, ...]
    ) -> None:
        def symbols(prefix: str, names: tuple[str, ...]) -> dict[str, Any]:
            return {name: sympy.Symbol(f"{prefix}_{name}", real=True) for name in names}

        self.gates = gates
        self.x, self.u = symbols("x", gates), symbols("u", gates)
        self.sum = symbols("z", gates)
        self.state, self.unit = symbols("s", states), symbols("p", units)
        self.dstates = list(symbols("d", states).values())

    @property
    def states(self) -> list[Any]:
        return list(self.state.values())

    @property
    def units(self) -> list[Any]:
        return list(self.unit.values())

    @property
    def arguments(self) -> list[Any]:
        """All that equations may depend on."""
        return [*self.x.values(), *self.u.values(), *self.states, *self.units]


class Names:
    """What equations see: `x.r` is the symbol of gate r."""

    def __init__(self, where: str, kind: str, symbols: Mapping[str, Any]) -> None:
        self.__dict__.update(symbols)
        self._where, self._kind, self._names = where, kind, ", ".join(symbols)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"[{self._where}] expected a {self._kind} out of {self._names}, got {name!r}"
        )
