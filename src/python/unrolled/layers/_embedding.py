"""A table of vectors, looked up by index."""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ._base import Layer
from ._checks import checked_dtype, checked_probability, checked_size
from ._initialisers import Initialiser, initialise
from ._mask import draw_mask
from ._place import functions_of, move
from ._specs import ParameterSpec
from ._types import Array


class Embedding(Layer):
    """A table of vectors, looked up by index.

        y = weight[index]

    Shapes: V rows, E embedding size. weight (V, E); indices (...) int64, y (..., E).

    With `tied_to` the table is the weight of another layer, such as the output matrix of a
    `SoftmaxHead`: it is stored once, there, and gradients of both uses add up there. Source: Press
    and Wolf, "Using the output embedding to improve language models", 2017.

    Embedding dropout drops whole rows in `vjp`: an index of a dropped row gives zeros wherever it
    occurs in the call, and the others are divided by 1 - dropout. Source: Gal and Ghahramani, "A
    theoretically grounded application of dropout in recurrent neural networks", 2016.

    Args:
        num_embeddings: V.
        embedding_size: E.
        dropout: probability of dropping a row, 0 <= dropout < 1.
        tied_to: a layer with a parameter "weight" of shape (V, E), or None for a table of its own.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Source: names and shapes as torch.nn.Embedding.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        num_embeddings: int,
        embedding_size: int,
        *,
        dropout: float = 0.0,
        tied_to: Layer | None = None,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        self.num_embeddings = checked_size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_size = checked_size("Embedding", "embedding_size", embedding_size)
        self.dropout = checked_probability("Embedding", "dropout", dropout)
        self._tied_to = tied_to
        shape = (self.num_embeddings, self.embedding_size)
        if tied_to is not None:
            got = tied_to.parameters["weight"].shape
            if got != shape:
                raise ValueError(f"[Embedding] expected a tied weight (V, E) = {shape}, got {got}")
            super().__init__()
            return
        kind = checked_dtype("Embedding", dtype)
        rng = np.random.default_rng() if rng is None else rng
        spec = ParameterSpec("weight", "embedding", shape, ("y",), self.embedding_size)
        super().__init__({"weight": initialise(init, spec, rng, kind)})

    def __repr__(self) -> str:
        options = f", dropout={self.dropout:g}" if self.dropout else ""
        options += "" if self._tied_to is None else ", tied"
        return f"Embedding({self.num_embeddings}, {self.embedding_size}{options})"

    @property
    def _table(self) -> Layer:
        return self if self._tied_to is None else self._tied_to

    @property
    def weight(self) -> Array:
        """The table (V, E), wherever it is stored."""
        return self._table.parameters["weight"]

    def __call__(self, indices: Array) -> Array:
        """Returns y (..., E); ValueError if an index is outside 0 .. V-1."""
        y: Array = functions_of(self.weight).embedding(indices, self.weight)
        return y

    def vjp(
        self, indices: Array, *, rng: np.random.Generator | None = None
    ) -> tuple[Array, Callable[[Array], None]]:
        """Returns y and its pullback; `pullback(dy)` adds to the gradient of the table.

        Args:
            indices: (...) int64.
            rng: where dropout comes from; needed only with dropout.
        """
        self._table._expect(("weight",))
        rows = self._draw_rows(rng)
        y = self(indices)
        scale = None if rows is None else move(rows[indices], self._table.place)

        def pullback(dy: Array) -> None:
            dy = dy if scale is None else dy * scale
            dweight = self._table.grads["weight"]
            functions_of(dweight).embedding_backward(indices, dy, dweight=dweight)
            self._table._added(("weight",))

        return y if scale is None else y * scale, pullback

    def _draw_rows(self, rng: np.random.Generator | None) -> Array | None:
        """Draws the factor of each row, (V, 1): 0 or 1 / (1 - dropout); None without dropout."""
        mask = draw_mask("Embedding", "dropout", self.dropout, rng)
        return mask(np.ones((self.num_embeddings, 1), self.weight.dtype)) if mask.p else None

    def lookup(self, indices: Array) -> Array | functional.Lookup:
        """Returns y as input of a recurrent layer, not written out where that saves work.

        Where indices repeat (no fewer of them than rows in the table), the layer multiplies each
        row of the table once rather than each token; its result is the same.
        """
        lookup = functional.Lookup(indices, self.weight)
        return lookup if self._pays(lookup) else self(indices)

    def _pays(self, lookup: functional.Lookup) -> bool:
        return lookup.pays and self._table.place == "cpu"

    def lookup_vjp(
        self, indices: Array, *, rng: np.random.Generator | None = None
    ) -> tuple[Array | functional.Lookup, Callable[[Array], None]]:
        """Returns `lookup(indices)` and its pullback, which takes what the recurrent layer gives.

        That is the gradient of the table, (V, E), for a lookup, and of y, (..., E), otherwise.
        """
        lookup = functional.Lookup(indices, self.weight)
        if not self._pays(lookup):
            return self.vjp(indices, rng=rng)
        self._table._expect(("weight",))
        rows = self._draw_rows(rng)

        def pullback(dtable: Array) -> None:
            self._table.grads["weight"][...] += dtable if rows is None else dtable * rows
            self._table._added(("weight",))

        if rows is None:
            return lookup, pullback
        return functional.Lookup(indices, self.weight * rows), pullback
