"""One flat buffer that holds every parameter of a model, and one that holds every gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .. import functional
from ._types import Array


@dataclass(frozen=True)
class FlatBuffer:
    """All parameters of a model as one 1-D array, and their gradients as another.

    An optimizer step is then one pass over two arrays, clipping one norm, an all-reduce one call,
    a checkpoint one write. Matrices come first and vectors after them, so that weight decay (which
    belongs on matrices only) acts on one slice.

    Attributes:
        values: (P,) every parameter; a parameter array is a view into it.
        grads: (P,) every gradient, in the same places.
        slices: name -> its place in `values` and `grads`.
        shapes: name -> shape of the parameter.
        matrices: the place of all parameters with two or more axes.
        vectors: the place of all others (biases, gains).
    """

    values: Array
    grads: Array
    slices: Mapping[str, slice]
    shapes: Mapping[str, tuple[int, ...]]
    matrices: slice
    vectors: slice

    @classmethod
    def gather(cls, arrays: Mapping[str, Array]) -> "FlatBuffer":
        """Copies `arrays`, all of one dtype, into a new buffer; its gradients are zero."""
        dtypes = sorted({str(array.dtype) for array in arrays.values()})
        if len(dtypes) > 1:
            raise TypeError(f"[flat] expected parameters of one dtype, got {' and '.join(dtypes)}")
        dtype = np.dtype(dtypes[0] if dtypes else np.float32)

        matrices = [name for name, array in arrays.items() if array.ndim >= 2]
        vectors = [name for name, array in arrays.items() if array.ndim < 2]
        slices: dict[str, slice] = {}
        end = 0
        for name in matrices + vectors:
            slices[name] = slice(end, end + arrays[name].size)
            end = slices[name].stop
        first_vector = slices[vectors[0]].start if vectors else end

        values, grads = functional.empty((end,), dtype), functional.empty((end,), dtype)
        grads.fill(0)
        for name, place in slices.items():
            values[place] = arrays[name].ravel()
        return cls(
            values=values,
            grads=grads,
            slices=MappingProxyType(slices),
            shapes=MappingProxyType({name: arrays[name].shape for name in arrays}),
            matrices=slice(0, first_vector),
            vectors=slice(first_vector, end),
        )

    def moved(self, move: Callable[[Array], Array]) -> "FlatBuffer":
        """The same buffer elsewhere: `move` copies an array to there."""
        return replace(self, values=move(self.values), grads=move(self.grads))

    def views(self, flat: Array) -> dict[str, Array]:
        """Returns the named views into `flat`, a (P,) array laid out like `values`.

        Besides `values` and `grads` this serves whatever an optimizer keeps for each parameter.
        """
        if flat.shape != self.values.shape:
            raise ValueError(
                f"[flat] expected an array of shape (P,) = {self.values.shape}, got {flat.shape}"
            )
        return {name: flat[self.slices[name]].reshape(shape) for name, shape in self.shapes.items()}
