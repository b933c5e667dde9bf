"""The activation functions that ONNX's recurrent operators name."""

from collections.abc import Iterator, Sequence

from ..functional import GateFunction, gate_functions

#: Our names by ONNX's in small letters, as "leakyrelu".
_NAMES = {name.replace("_", ""): name for name in gate_functions()}


def onnx_name(name: str) -> str:
    """A function's name as ONNX writes it, as "LeakyRelu"."""
    return name.title().replace("_", "")


def read_activations(
    where: str, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> tuple[GateFunction, ...]:
    """Returns a node's functions, in its order.

    Those that have a parameter take the values one after the other; where values are fewer, the
    functions that are left take their defaults.

    Args:
        where: the node, for errors.
        names: in any case of letters.
        alphas, betas: the attributes activation_alpha and activation_beta.

    Raises:
        ValueError: a name that ONNX does not have, more values than functions that take one (which
            values are meant is then open), or none for a function without a default.
    """
    if unknown := [name for name in names if name.lower() not in _NAMES]:
        known = ", ".join(map(onnx_name, gate_functions()))
        raise ValueError(f"{where} expected activations out of {known}, got {unknown}")
    ours = [_NAMES[name.lower()] for name in names]
    values = [
        _consumed(where, kind, ours, given) for kind, given in (("alpha", alphas), ("beta", betas))
    ]
    try:
        return tuple(GateFunction(*each) for each in zip(ours, *values, strict=True))
    except ValueError as error:
        raise ValueError(f"{where} has activations that will not do: {error}") from error


def _consumed(
    where: str, kind: str, names: Sequence[str], given: Sequence[float]
) -> list[float | None]:
    """For each function its parameter; None: it has none, or its default."""
    takes = [kind in gate_functions()[name] for name in names]
    if any(takes) and len(given) > sum(takes):
        takers = [name for name, there in zip(names, takes, strict=True) if there]
        raise ValueError(
            f"{where} expected activation_{kind} with no more values than functions that take "
            f"one, {takers}, got {list(given)}"
        )
    rest: Iterator[float] = map(float, given)
    return [next(rest, None) if there else None for there in takes]
