"""What a node of ONNX's operators LSTM, GRU and RNN says of itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._extras import import_extra
from ..functional import GateFunction, Gates, cell_info
from ..layers._types import Array
from ._onnx_activations import onnx_name, read_activations
from ._onnx_operators import DEFAULT_ACTIVATIONS, GATES, OPERATORS, Operator


class _Attribute(NamedTuple):
    """One that the operators have, or one of them, in some versions of ONNX."""

    type: str
    op_type: str = ""
    since: int = 1
    until: float = math.inf


_ATTRIBUTES: Mapping[str, _Attribute] = {
    "activation_alpha": _Attribute("FLOATS"),
    "activation_beta": _Attribute("FLOATS"),
    "activations": _Attribute("STRINGS"),
    "clip": _Attribute("FLOAT"),
    "direction": _Attribute("STRING"),
    "hidden_size": _Attribute("INT"),
    "layout": _Attribute("INT", since=14),
    "output_sequence": _Attribute("INT", until=6),  # which outputs there are says the same
    "input_forget": _Attribute("INT", "LSTM"),
    "linear_before_reset": _Attribute("INT", "GRU", since=3),
}

#: Of each direction that a node may have, which of its scans read from the last step to the first.
_DIRECTIONS: Mapping[str, tuple[bool, ...]] = {
    "forward": (False,),
    "reverse": (True,),
    "bidirectional": (False, True),
}


@dataclass(frozen=True)
class Equations:
    """What one direction of a node computes.

    Attributes:
        op_type: "LSTM", "GRU" or "RNN".
        activations: f, g and h of ONNX's equations, as many as the operator has.
        clip: what the activations of the gates read is cut to -clip .. clip; None: it is not.
        option: `input_forget` of an LSTM, `linear_before_reset` of a GRU.
        peepholes: whether the gates of an LSTM see its cell.
    """

    op_type: str
    activations: tuple[GateFunction, ...]
    clip: float | None = None
    option: bool = False
    peepholes: bool = False

    @property
    def cell(self) -> str:
        """The cell that computes the same: the simplest one."""
        names = tuple(onnx_name(each.name) for each in self.activations)

        def fits(cell: str, operator: Operator) -> bool:
            option = self.option == any(operator.options.values())
            if operator.op_type != self.op_type:
                return False
            if cell_info(cell).functions:
                return option or self.op_type == "LSTM"  # whose option its gates are told
            plain = (operator.activations, bool(operator.units))
            return option and self.clip is None and (names, self.peepholes) == plain

        return next(cell for cell, operator in OPERATORS.items() if fits(cell, operator))

    @property
    def gates(self) -> Gates | None:
        """What is to be said to this cell; None: nothing."""
        if not cell_info(self.cell).functions:
            return None
        return Gates(self.activations, self.clip, self.op_type == "LSTM" and self.option)


@dataclass(frozen=True)
class NodeOptions:
    """The attributes of a node, checked.

    Attributes:
        where: the node, for errors.
        equations: of each direction.
        reverse: of each direction, whether it reads from the last step to the first.
        hidden_size: H, None where the node leaves it to the weights.
        batch_first: sequences are (B, T, I) and states (B, D, H).
    """

    where: str
    equations: tuple[Equations, ...]
    reverse: tuple[bool, ...]
    hidden_size: int | None
    batch_first: bool

    @property
    def op_type(self) -> str:
        """ "LSTM", "GRU" or "RNN"."""
        return self.equations[0].op_type

    def hidden(
        self, w: Array, r: Array, b: Array | None = None, p: Array | None = None
    ) -> tuple[int, int]:
        """Returns the sizes I and H of weights that fit together.

        Shapes: w (D, G*H, I), r (D, G*H, H), b (D, 2*G*H), p (D, 3*H).

        Raises:
            ValueError: they do not.
        """
        directions, hidden = len(self.reverse), r.shape[-1] if r.ndim else 0
        rows = GATES[self.op_type] * hidden
        good = (
            hidden > 0
            and r.shape == (directions, rows, hidden)
            and w.ndim == 3
            and w.shape[:2] == (directions, rows)
            and w.shape[2] > 0
            and self.hidden_size in (None, hidden)
            and (b is None or b.shape == (directions, 2 * rows))
            and (p is None or p.shape == (directions, 3 * hidden))
        )
        if not good:
            size = "" if self.hidden_size is None else f" with hidden_size {self.hidden_size}"
            shapes = [each.shape for each in (w, r, b, p) if each is not None]
            raise ValueError(
                f"{self.where} has weights of shapes {', '.join(map(str, shapes))} in "
                f"{directions} directions{size}, which do not fit together"
            )
        return w.shape[2], hidden


def read_options(node: Any, opset: int) -> NodeOptions:
    """Returns what a node of an operator of the given version of ONNX says.

    Args:
        node: an `onnx.NodeProto` whose operator is LSTM, GRU or RNN.
        opset: the version of ONNX's operators that the model uses.

    Raises:
        ValueError: an attribute is unknown or has no possible value; the text names the node.
    """
    where = name_of(node)
    given = _attributes(where, node, opset)
    op_type = str(node.op_type)
    direction = given.get("direction", "forward")
    if direction not in _DIRECTIONS:
        raise ValueError(
            f"{where} expected a direction out of {', '.join(_DIRECTIONS)}, got {direction!r}"
        )
    reverse = _DIRECTIONS[direction]
    clip = given.get("clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"{where} expected clip > 0, got {clip}")
    for name in ("layout", "input_forget", "linear_before_reset"):
        if given.get(name, 0) not in (0, 1):
            raise ValueError(f"{where} expected {name} = 0 or 1, got {given[name]}")
    hidden = given.get("hidden_size")
    if hidden is not None and hidden < 1:
        raise ValueError(f"{where} expected hidden_size >= 1, got {hidden}")
    peepholes = len(node.input) > 7 and bool(node.input[7])
    option = bool(given.get("input_forget", 0) or given.get("linear_before_reset", 0))
    return NodeOptions(
        where,
        tuple(
            Equations(op_type, activations, clip, option, peepholes)
            for activations in _activations(where, op_type, given, len(reverse))
        ),
        reverse,
        hidden,
        bool(given.get("layout", 0)),
    )


def name_of(node: Any) -> str:
    """What errors call a node: by its name, or its first output where it has none."""
    name = node.name or next(filter(None, node.output), node.op_type)
    return f"[onnx] {node.op_type} {name}"


def _attributes(where: str, node: Any, opset: int) -> dict[str, Any]:
    onnx = import_extra("onnx", "onnx")
    types = onnx.AttributeProto.AttributeType
    result: dict[str, Any] = {}
    for item in node.attribute:
        known = _ATTRIBUTES.get(item.name)
        if (
            known is None
            or known.op_type not in ("", node.op_type)
            or not known.since <= opset <= known.until
        ):
            raise ValueError(
                f"{where} has an attribute {item.name!r}, unknown for {node.op_type} in "
                f"opset {opset}"
            )
        if item.type != types.Value(known.type):
            raise ValueError(
                f"{where} expected {item.name} of type {known.type}, got {types.Name(item.type)}"
            )
        if item.ref_attr_name:
            raise ValueError(
                f"{where} takes {item.name} from the function around it: inline functions first "
                "(onnx.inliner)"
            )
        value = onnx.helper.get_attribute_value(item)
        if known.type == "STRINGS":
            value = [_text(each) for each in value]
        result[item.name] = _text(value) if known.type == "STRING" else value
    return result


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _activations(
    where: str, op_type: str, given: Mapping[str, Any], directions: int
) -> list[tuple[GateFunction, ...]]:
    """The functions of each direction."""
    plain = DEFAULT_ACTIVATIONS[op_type]
    names: Sequence[str] = given.get("activations") or plain * directions
    if len(names) != len(plain) * directions:
        raise ValueError(
            f"{where} expected {len(plain) * directions} activations, {len(plain)} for each of "
            f"{directions} directions, got {list(names)}"
        )
    all_of_them = read_activations(
        where, names, given.get("activation_alpha", ()), given.get("activation_beta", ())
    )
    count = len(plain)
    return [all_of_them[count * d : count * (d + 1)] for d in range(directions)]
