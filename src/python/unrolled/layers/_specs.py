"""Which parameters a layer has: their names, roles and shapes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..functional import CellInfo

if TYPE_CHECKING:
    from ._sizes import LayerSizes

Role: TypeAlias = Literal[
    "input", "recurrent", "projection", "input_bias", "recurrent_bias", "unit", "embedding"
]


@dataclass(frozen=True)
class ParameterSpec:
    """What an initialiser may know of the parameter that it fills.

    Attributes:
        name: the parameter's name in its layer, as "weight_ih_l0".
        role: what it does: "input" (a matrix applied to the layer's input), "recurrent" (a matrix
            applied to the state), "projection" (a matrix that gives the state), their biases
            "input_bias" and "recurrent_bias", "unit" (what each unit has for itself, as peephole
            weights), or "embedding".
        shape: (rows, columns) of a matrix, (rows,) of a bias.
        gates: names of the equal blocks of rows, as ("i", "f", "g", "o"); one name for a layer
            without gates. Of a "unit", names of its parameters.
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
    cell: CellInfo, layer: int, sizes: "LayerSizes", num_directions: int, *, bias: bool
) -> Iterator[dict[str, ParameterSpec]]:
    """Yields the specs of each scan of a layer of a stack, forward before reverse.

    A scan has weight_ih (G*H, I), weight_hh (G*H, H) and, with bias, bias_ih (G*H,) and
    bias_hh (G*H,); of these a cell without a recurrent product has those of the input alone. A cell
    with parameters of its units has weight_unit (P*H,). Where a cell projects its output to R there
    is weight_hr (R, H), and weight_hh is (G*H, R). Keys are the arguments of `functional.pack`.
    """
    rows = len(cell.gates) * sizes.hidden
    for ending in scan_endings(layer, num_directions):
        plan: list[tuple[str, Role, tuple[int, ...], bool]] = [
            ("weight_ih", "input", (rows, sizes.inputs), True),
            ("weight_hh", "recurrent", (rows, sizes.h), cell.recurrent),
            ("bias_ih", "input_bias", (rows,), bias),
            ("bias_hh", "recurrent_bias", (rows,), bias and cell.recurrent),
            ("weight_unit", "unit", (len(cell.units) * sizes.hidden,), bool(cell.units)),
            ("weight_hr", "projection", (sizes.h, sizes.hidden), cell.projects),
        ]
        names = {"unit": cell.units, "projection": ("h",)}
        yield {
            name: ParameterSpec(
                name + ending,
                role,
                shape,
                names.get(role, cell.gates),
                sizes.hidden,
            )
            for name, role, shape, there in plan
            if there
        }


def scan_endings(layer: int, num_directions: int) -> tuple[str, ...]:
    """What the names of a layer's parameters end with, those of each direction."""
    return (f"_l{layer}", f"_l{layer}_reverse")[:num_directions]
