"""JSON values as what an annotation says they are: what stands in a file is not to be trusted."""

import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

T = TypeVar("T")

_INT64 = range(-(2**63), 2**63)


@overload
def from_json(kind: type[T], value: Any, where: str) -> T: ...
@overload
def from_json(kind: Any, value: Any, where: str) -> Any: ...
def from_json(kind: Any, value: Any, where: str) -> Any:
    """Returns a JSON value as a `kind`, checked all the way down.

    Args:
        kind: bool, int (of 64 bits), float (integers become floats), str, None, Any, a Literal, a
            union, `list[X]`, `tuple[X, ...]`, `tuple[X, Y]`, `dict[str, X]`, or a dataclass of
            such fields, which is made of an object with its names.
        value: what `json.loads` returned.
        where: the name of the value, for error texts.

    Raises:
        ValueError: it is something else; the text says where, what was expected and what came.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if kind is None or kind is NoneType:
        return _checked(value is None, None, "null", value, where)
    if kind is float:
        return _float(value, where)
    if kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool) and value in _INT64
        return _checked(whole, value, "an integer of 64 bits", value, where)
    if kind in (bool, str):
        return _checked(isinstance(value, kind), value, f"a {kind.__name__}", value, where)
    if origin is Literal:
        # A list is no choice, though it cannot be looked up among the choices.
        chosen = isinstance(value, (str, int)) and value in parts
        choices = ", ".join(map(repr, parts))
        return _checked(chosen, value, f"one of {choices}", value, where)
    if origin in (Union, UnionType):
        return _union(parts, value, where)
    if origin in (list, tuple):
        return _sequence(origin, parts, value, where)
    if origin is dict:
        _checked(isinstance(value, dict), value, "an object", value, where)
        return {name: from_json(parts[1], item, f"{where}.{name}") for name, item in value.items()}
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    raise TypeError(f"[from_json] cannot check for {kind!r}")


def _checked(good: bool, result: Any, expected: str, value: Any, where: str) -> Any:
    if good:
        return result
    text = repr(value)
    raise ValueError(
        f"expected {where} to be {expected}, got {text if len(text) <= 60 else text[:60] + '...'}"
    )


def _float(value: Any, where: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = number and (isinstance(value, float) or value in _INT64)
    return _checked(fits, float(value) if fits else math.nan, "a number", value, where)  # type: ignore[no-any-return]


def _union(parts: tuple[Any, ...], value: Any, where: str) -> Any:
    reasons = []
    for part in parts:
        try:
            return from_json(part, value, where)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; or ".join(reasons))


def _sequence(origin: Callable[[Any], Any], parts: tuple[Any, ...], value: Any, where: str) -> Any:
    _checked(isinstance(value, (list, tuple)), value, "a list", value, where)
    if origin is list or parts[-1] is Ellipsis:
        kinds = (parts[0],) * len(value)
    else:
        kinds = parts
        _checked(len(value) == len(kinds), value, f"a list of {len(kinds)}", value, where)
    return origin(
        from_json(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    _checked(isinstance(value, dict), value, "an object", value, where)
    kinds = get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"expected {where} to have {', '.join(known)}, got {', '.join(unknown)}")
    missing = [
        name
        for name, item in known.items()
        if name not in value and item.default is MISSING and item.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"expected {where} to have {', '.join(missing)}, which it has not")
    return kind(
        **{name: from_json(kinds[name], item, f"{where}.{name}") for name, item in value.items()}
    )
