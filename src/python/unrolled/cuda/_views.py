"""Views of the arrays of one call, and plans on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import ArrayModule

if TYPE_CHECKING:
    from .. import _cuda


@dataclass(frozen=True)
class Views:
    """Views of one call's arrays."""

    cell: str
    stream: int

    def of(self, name: str, array: Any) -> _cuda.Array:
        from .. import _cuda

        return _cuda.Array(self.cell, name, array, self.stream)

    def of_some(self, name: str, array: Any | None) -> _cuda.Array | None:
        return None if array is None else self.of(name, array)

    def of_all(self, name: str, arrays: Sequence[Any] | None) -> list[_cuda.Array]:
        if arrays is None:
            return []
        if not isinstance(arrays, tuple | list):
            raise TypeError(
                f"[{self.cell}] expected {name} as a tuple of arrays, got {type(arrays).__name__}"
            )
        return [self.of(name, array) for array in arrays]


def integers(arrays: ArrayModule, views: Views, count: int) -> _cuda.Array:
    """Memory for so many int64."""
    return views.of("memory", arrays.empty((count,), np.int64))


@lru_cache(maxsize=256)
def full_plan(
    cell: str, arrays: ArrayModule, stream: int, steps: int, batch: int, reverse: bool
) -> _cuda.Plan:
    """The plan of a batch without ends and resets, which is the same for all: copied once."""
    from .. import _cuda

    plan = _cuda.Plan(cell, steps, batch, None, None, reverse)
    upload(plan, arrays, Views(cell, stream), wait=True)
    return plan


def upload(plan: _cuda.Plan, arrays: ArrayModule, views: Views, *, wait: bool) -> None:
    """Copies a plan to memory of `arrays`; with `wait` it is there for any stream then."""
    plan.upload(views.of("plan", arrays.empty((plan.nbytes,), np.uint8)), views.stream, wait)
