"""Which parameters a layer has: their names, roles and shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal[
    "input",
    "recurrent",
    "projection",
    "input_bias",
    "recurrent_bias",
    "gain",
    "shift",
    "embedding",
]


@dataclass(frozen=True)
class ParameterSpec:
    """What an initialiser may know of the parameter that it fills.

    Attributes:
        name: the parameter's name in its layer, as "weight_ih_l0".
        role: what it does: "input" (a matrix applied to the layer's input), "recurrent" (a matrix
            applied to the state), "projection" (a matrix that gives the state), their biases
            "input_bias" and "recurrent_bias", the "gain" and "shift" of a normalised row, or
            "embedding".
        shape: (rows, columns) of a matrix, (rows,) of a bias.
        gates: names of the equal blocks of rows, as ("i", "f", "g", "o"); one name for a layer
            without gates.
        fan: the number of units that torch's uniform rule scales by: H of a recurrent layer, the
            input size of a linear one, the embedding size.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    gates: tuple[str, ...]
    fan: int


def linear_specs(input_size: int, output_size: int, *, bias: bool) -> tuple[ParameterSpec, ...]:
    """Returns the specs of an affine map: weight (O, I) and, if there is one, bias (O,)."""
    weight = ParameterSpec("weight", "input", (output_size, input_size), ("y",), input_size)
    if not bias:
        return (weight,)
    return (weight, ParameterSpec("bias", "input_bias", (output_size,), ("y",), input_size))


def recurrent_specs(
    gates: Sequence[str],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_directions: int,
    *,
    bias: bool,
    proj_size: int = 0,
    extras: Sequence[str] = (),
) -> Iterator[tuple[ParameterSpec, ...]]:
    """Yields the specs of each scan of a stack, layer by layer, forward before reverse.

    A scan has weight_ih (G*H, I), weight_hh (G*H, H) and, with bias, bias_ih (G*H,) and
    bias_hh (G*H,). Layers after the first read the D*H outputs of the one below. With proj_size P
    outputs have P columns in place of H, and weight_hh is (G*H, P). The cell's `extras` follow, see
    `functional.CellInfo`.
    """
    outputs = proj_size or hidden_size
    rows = len(gates) * hidden_size
    further: dict[str, tuple[Role, tuple[int, ...], tuple[str, ...]]] = {
        "weight_hr": ("projection", (outputs, hidden_size), ("h",)),
        "gain_ih": ("gain", (rows,), tuple(gates)),
        "gain_hh": ("gain", (rows,), tuple(gates)),
        "gain_c": ("gain", (hidden_size,), ("c",)),
        "shift_c": ("shift", (hidden_size,), ("c",)),
    }
    for layer in range(num_layers):
        inputs = input_size if layer == 0 else num_directions * outputs
        for suffix in ("", "_reverse")[:num_directions]:
            ending = f"_l{layer}{suffix}"
            plan: list[tuple[str, Role, tuple[int, ...]]] = [
                ("weight_ih", "input", (rows, inputs)),
                ("weight_hh", "recurrent", (rows, outputs)),
                ("bias_ih", "input_bias", (rows,)),
                ("bias_hh", "recurrent_bias", (rows,)),
            ]
            specs = [
                ParameterSpec(name + ending, role, shape, tuple(gates), hidden_size)
                for name, role, shape in (plan if bias else plan[:2])
            ]
            for name in extras:
                role, shape, parts = further[name]
                specs.append(ParameterSpec(name + ending, role, shape, parts, hidden_size))
            yield tuple(specs)
