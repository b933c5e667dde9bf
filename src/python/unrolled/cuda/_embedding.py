"""Rows of a table by index, on a CUDA device; indices are read on the host."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from ..functional._types import indices_of
from ._arrays import array_module, to_host
from ._library import require
from ._views import Views, integers


def embedding(indices: ArrayLike, weight: Any) -> Any:
    """Rows of weight (V, E) at integer indices (...): an array (..., E)."""
    require()
    from .. import _cuda

    arrays = array_module("embedding", weight)
    views = Views("embedding", arrays.stream)
    index = indices_of("embedding", "indices", to_host(indices))
    out = arrays.empty((index.size, weight.shape[-1]))
    _cuda.embedding(
        index.reshape(-1),
        views.of("weight", weight),
        views.of("out", out),
        integers(arrays, views, index.size),
        views.stream,
    )
    return out.reshape(*index.shape, weight.shape[-1])


def embedding_backward(indices: ArrayLike, dy: Any, *, dweight: Any) -> None:
    """Pullback of `embedding`: adds dy (..., E) to dweight (V, E) at rows `indices` (...)."""
    require()
    from .. import _cuda

    where = "embedding_backward"
    arrays = array_module(where, dweight)
    views = Views(where, arrays.stream)
    index = indices_of(where, "indices", to_host(indices))
    if tuple(dy.shape[:-1]) != index.shape:
        raise ValueError(
            f"[{where}] expected dy of shape (..., E) for indices {index.shape}, "
            f"got {tuple(dy.shape)}"
        )
    _cuda.embedding_backward(
        index.reshape(-1),
        views.of("dy", dy),
        views.of("dweight", dweight),
        integers(arrays, views, 3 * index.size + 1),
        views.stream,
    )
