"""What the gates of a layer apply."""

from collections.abc import Sequence
from typing import TypeAlias

from .. import functional

#: A function by name, with its default parameters, or with others.
Activation: TypeAlias = str | functional.GateFunction


def as_function(activation: Activation) -> functional.GateFunction:
    """The function; ValueError, naming the choices, where there is none of this name."""
    if isinstance(activation, functional.GateFunction):
        return activation
    return functional.GateFunction(activation)


def chosen_cell(
    where: str,
    plain: str,
    activations: Sequence[Activation] | None,
    gate_clip: float | None,
) -> tuple[str, functional.Gates | None]:
    """The cell that does what is asked for, and what its gates apply, None where they are its own.

    Args:
        where: who asks, for errors.
        plain: the cell of the usual activations; "rnn" for those of tanh and of relu.
        activations: None: the usual ones.
        gate_clip: see `functional.Gates`.

    Raises:
        ValueError: a wrong number of activations, or one that there is not.
    """
    cell = f"{plain}_functions"
    usual = functional.cell_info(cell).functions
    if activations is None:
        activations = usual
    if isinstance(activations, str) or len(activations) != len(usual):
        raise ValueError(
            f"[{where}] expected {len(usual)} activations, as {usual}, got {activations!r}"
        )
    gates = functional.Gates(tuple(map(as_function, activations)), gate_clip)
    if plain == "rnn" and gate_clip is None and gates.functions[0].name in ("tanh", "relu"):
        return f"rnn_{gates.functions[0].name}", None
    return (plain, None) if gates == gates_of(cell) else (cell, gates)


def gates_of(cell: str) -> functional.Gates:
    """What the gates of a cell with `functions` apply where nothing is said."""
    return functional.Gates(
        tuple(map(functional.GateFunction, functional.cell_info(cell).functions))
    )


def checked_gates(
    where: str, info: functional.CellInfo, gates: functional.Gates | None
) -> functional.Gates:
    """What the gates of a cell apply; ValueError where it cannot be chosen, or does not fit."""
    if not info.functions:
        if gates is not None:
            raise ValueError(f"[{where}] expected gates=None: those of {info.name} are its own")
        return functional.NO_CHOICE
    if gates is None:
        return gates_of(info.name)
    if len(gates.functions) != len(info.functions):
        raise ValueError(
            f"[{where}] expected {len(info.functions)} functions of gates, as {info.functions}, "
            f"got {len(gates.functions)}"
        )
    if gates.coupled and "c" not in info.states:
        raise ValueError(f"[{where}] expected coupled=False: {info.name} has no gates i and f")
    return gates


def gate_options(gates: functional.Gates) -> list[str]:
    """What the text of a layer says of them."""
    names = tuple(map(str, gates.functions))
    options = [f"nonlinearity={names[0]!r}"] if len(names) == 1 else []
    options += [f"activations={names}"] if len(names) > 1 else []
    options += [f"gate_clip={gates.clip:g}"] if gates.clip is not None else []
    return options + (["coupled=True"] if gates.coupled else [])
