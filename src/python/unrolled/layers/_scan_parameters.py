"""The parameters of one scan: one direction of one layer of a stack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional
from ._mask import Mask
from ._place import functions_of, place_options
from ._types import Array


@dataclass(frozen=True)
class ScanParameters:
    """Which of a layer's parameters are those of one scan.

    Attributes:
        cell: its name.
        keys: names of parameters by the argument of `functional.pack`.
        initial: names of the learned initial states, (H,) each; none where they are zero.
        gates: what the gates of a cell with functions apply.
    """

    cell: str
    keys: Mapping[str, str]
    initial: tuple[str, ...] = ()
    gates: functional.Gates = functional.NO_CHOICE

    def names(self, *, begins: bool) -> tuple[str, ...]:
        """The names of the parameters that take part in a call, which may begin a sequence."""
        return (*self.keys.values(), *(self.initial if begins else ()))

    def begin(self, parameters: Mapping[str, Array], batch: int) -> tuple[Array, ...] | None:
        """The learned initial states for B rows, (B, H) each; None = zeros."""
        if not self.initial:
            return None
        return tuple(np.repeat(parameters[name][None], batch, axis=0) for name in self.initial)

    def pull_begin(self, gradients: Mapping[str, Array], dinitial: Sequence[Array]) -> None:
        """Adds the gradients of what `begin` returned to those of the parameters."""
        for name, gradient in zip(self.initial, dinitial, strict=False):
            total = gradients[name]
            total += gradient.sum(axis=0)

    def pack(
        self,
        parameters: Mapping[str, Array],
        precision: functional.Precision,
        mask: Mask | None = None,
    ) -> functional.Weights:
        """Returns the packed weights; with a mask of the recurrent weights, for training.

        Parameters may be edited in place at any time, so nothing packed is kept between calls.
        """
        own: dict[str, Any] = {key: parameters[name] for key, name in self.keys.items()}
        if self.gates.functions:
            own["gates"] = self.gates
        w_ih, w_hh = own.pop("weight_ih"), own.pop("weight_hh", None)
        if mask is not None and w_hh is not None:
            w_hh = mask(w_hh)
        weights: functional.Weights = functions_of(w_ih).pack(
            self.cell, w_ih, w_hh, **own, precision=precision, backward=mask is not None
        )
        return weights

    def run(
        self,
        parameters: Mapping[str, Array],
        precision: functional.Precision,
        mask: Mask | None,
        x: Array | functional.Lookup,
        states: tuple[Array, ...] | None,
        *,
        recompute: functional.Recompute,
        **options: Any,
    ) -> tuple[tuple[Array, ...], functional.Saved | None]:
        """Runs `functional.scan`, or with a mask `scan_vjp`; returns all but the output."""
        weights = self.pack(parameters, precision, mask)
        functions = functions_of(parameters[self.keys["weight_ih"]])
        place_options(options, parameters[self.keys["weight_ih"]])
        if mask is None:
            return functions.scan(weights, x, states, **options)[1], None
        _, final, saved = functions.scan_vjp(weights, x, states, recompute=recompute, **options)
        return final, saved

    def pull(
        self,
        gradients: Mapping[str, Array],
        saved: functional.Saved,
        mask: Mask,
        dy: Array | None,
        dfinal: tuple[Array, ...] | None,
        **options: Any,
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """BPTT, see `functional.scan_backward`; adds to the gradients of the parameters."""
        own = {key: gradients[name] for key, name in self.keys.items()}
        dw_hh = own.get("weight_hh")
        if mask.p and dw_hh is not None:
            own["weight_hh"] = np.zeros_like(dw_hh)
        grads = [own.get(key) for key in functional.PARAMETERS]
        functions = functions_of(own["weight_ih"])
        dx, dinitial = functions.scan_backward(saved, dy, dfinal, grads=grads, **options)
        if mask.p and dw_hh is not None:
            dw_hh += mask(own["weight_hh"])
        return dx, dinitial
