"""Packed copies of a module's parameters, made anew once one of them has changed."""

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import functional
from ...layers._types import Array
from ._step import Steppers

_SAMPLES = 64


@dataclass(frozen=True)
class _Known:
    """What a parameter was when it was packed.

    Attributes:
        tensor: gives the tensor itself, which is not kept alive; None once it is gone.
        version: torch's count of the writes that it saw; None for tensors without one.
        address: of the first element.
        sample: some of the elements, spread over all rows and columns: a view of the live memory.
        values: what they were.
    """

    tensor: Callable[[], Any]
    version: int | None
    address: int
    sample: Array
    values: bytes

    @classmethod
    def of(cls, tensor: Any) -> "_Known":
        flat = tensor.detach().numpy().reshape(-1)
        stride = max(1, flat.size // _SAMPLES)
        while math.gcd(stride, tensor.shape[-1]) > 1:  # else all could lie in a few columns
            stride += 1
        sample = flat[::stride]
        version = None if tensor.is_inference() else tensor._version
        return cls(weakref.ref(tensor), version, tensor.data_ptr(), sample, sample.tobytes())

    def still(self, tensor: Any) -> bool:
        """Whether that is the tensor, and nothing of it has changed as far as one can see."""
        return bool(
            self.tensor() is tensor
            and (self.version is None or tensor._version == self.version)
            and tensor.data_ptr() == self.address
            and self.sample.tobytes() == self.values
        )


class Packed:
    """The packed weights of all scans of a module.

    Attributes:
        weights: of one scan after the other.
        steppers: for single steps through a stack of one direction.
    """

    def __init__(
        self, weights: Sequence[functional.Weights], parameters: Sequence[Any], *, backward: bool
    ) -> None:
        self.weights = weights
        self.steppers = Steppers(weights)
        self._known = tuple(map(_Known.of, parameters))
        self._backward, self._isa = backward, functional.isa()

    def holds(self, parameters: Sequence[Any], *, backward: bool) -> bool:
        """Whether packing these parameters now would give the same."""
        return (
            len(self._known) == len(parameters)
            and all(map(_Known.still, self._known, parameters))
            and (self._backward or not backward)
            and self._isa == functional.isa()
        )


class PackedWeights:
    """The packed weights of a module, once for each precision in use.

    torch counts most writes to a tensor (`_version`), but neither those of optimizers with
    `fused=True` nor those through `tensor.data` or NumPy. So a sample of 64 elements of each
    parameter is compared as well, which every update of a whole parameter changes. What writes to
    single elements behind torch's back has to say so: `clear`.
    """

    def __init__(self) -> None:
        self._entries: dict[functional.Precision, Packed] = {}

    def clear(self) -> None:
        """Drops everything."""
        self._entries.clear()

    def get(
        self, parameters: Sequence[Any], precision: functional.Precision, *, backward: bool
    ) -> Packed | None:
        """What `pack` gave for these parameters, None if it would give something else now."""
        entry = self._entries.get(precision)
        return entry if entry and entry.holds(parameters, backward=backward) else None

    def pack(
        self,
        cell: str,
        parameters: Sequence[Any],
        scans: int,
        precision: functional.Precision,
        *,
        backward: bool,
    ) -> Packed:
        """Packs the parameters of all scans and keeps the result for `get`.

        Args:
            cell: a name out of `functional.cells()`.
            parameters: those of one scan after the other, on the CPU.
            scans: how many there are: layers times directions.
            precision: in which numbers products multiply.
            backward: whether BPTT will need them.
        """
        weights = pack_scans(cell, parameters, scans, precision, backward=backward)
        entry = Packed(weights, parameters, backward=backward)
        if all(parameter.is_contiguous() for parameter in parameters):  # else a sample is no view
            self._entries[precision] = entry
        return entry


def pack_scans(
    cell: str,
    parameters: Sequence[Any],
    scans: int,
    precision: functional.Precision,
    *,
    backward: bool,
) -> list[functional.Weights]:
    """Packs the parameters of each scan, see `scan_arguments`."""
    arrays = [parameter.detach().numpy() for parameter in parameters]
    each = len(arrays) // scans
    return [
        functional.pack(
            cell,
            *scan_arguments(arrays[k * each : (k + 1) * each]),
            precision=precision,
            backward=backward,
        )
        for k in range(scans)
    ]


def scan_arguments(arrays: Sequence[Array]) -> list[Any]:
    """torch's weight_ih, weight_hh, two biases if there are any, and weight_hr if there is one.

    Returns them in the order of `functional.PARAMETERS`, with None for what is absent.
    """
    w_ih, w_hh, *others = arrays
    biases = others[:2] if len(others) >= 2 else [None, None]
    w_hr = others[-1] if len(others) % 2 else None
    return [w_ih, w_hh, *biases, None, w_hr]


_OF_MODULES: "weakref.WeakKeyDictionary[Any, PackedWeights]" = weakref.WeakKeyDictionary()


def packed_weights(module: Any) -> PackedWeights:
    """Those of a module. They are kept beside it, so that no copy or file of it has them."""
    found = _OF_MODULES.get(module)
    if found is None:
        found = _OF_MODULES.setdefault(module, PackedWeights())
    return found
