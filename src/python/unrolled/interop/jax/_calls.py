"""The custom calls of one scan, on JAX's arrays.

Letters: T steps, B batch, I input, H hidden, G gates. Between calls, packed weights and saved
values are arrays of bytes: JAX sees everything that passes from one call to the next.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import functional
from ..._extras import import_extra
from ...layers._sizes import LayerSizes
from ...layers._specs import recurrent_specs

jax: Any = import_extra("jax", "jax")
ffi: Any = import_extra("jax.ffi", "jax")


def _interface_version() -> tuple[int, int]:
    """Of XLA's foreign function interface, from the header that jaxlib ships."""
    header = Path(ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text(encoding="utf-8")
    major, minor = (
        re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")
    )
    if major is None or minor is None:
        raise ImportError("[jax] expected a jaxlib whose c_api.h has XLA_FFI_API_MAJOR and _MINOR")
    return int(major[1]), int(minor[1])


for _name, _handler in functional.xla_handlers(*_interface_version()).items():
    ffi.register_ffi_target(f"unrolled_{_name}", _handler, platform="cpu")


@dataclass(frozen=True)
class Scan:
    """What a program is compiled for.

    Attributes:
        cell: what the kernels know by its name. All of it is part of what is compiled for, so that
            a cell of a user's own that is defined anew is another one.
        isa: the instruction set, which packed weights and saved values are laid out for.
        reverse: whether rows run from their last live step to their first.
        ragged: whether there are lengths (B,), int32 or int64.
        resetting: whether there are resets (T, B), bool.
    """

    cell: functional.CellInfo
    isa: str
    reverse: bool
    ragged: bool
    resetting: bool

    @property
    def state_count(self) -> int:
        return len(self.cell.states)

    @property
    def parameter_count(self) -> int:
        return len(self.parameter_shapes(1, 1, 1))

    def parameter_shapes(self, inputs: int, hidden: int, outputs: int) -> list[tuple[int, ...]]:
        """Those of the cell's parameters, in the order of `functional.PARAMETERS`.

        `outputs` are the columns R of h: H, but for a cell that projects it.
        """
        sizes = LayerSizes(inputs, hidden, outputs, outputs, False)
        (specs,) = recurrent_specs(self.cell, 0, sizes, 1, bias=True)
        return [spec.shape for spec in specs.values()]

    def sizes(self, x: Any, initial: Sequence[Any], *, backward: bool) -> functional.XlaSizes:
        steps, batch, inputs = x.shape
        return functional.xla_sizes(
            self.cell.name,
            inputs,
            initial[-1].shape[1],
            steps,
            batch,
            output_size=initial[0].shape[1],
            backward=backward,
            dtype=x.dtype,
        )


def _call(
    name: str, scan: Scan, results: Sequence[Any], operands: Sequence[Any], **flags: bool
) -> Any:
    # Where something is mapped that cannot be folded into the batch, one call follows another.
    call = ffi.ffi_call(f"unrolled_{name}", results, vmap_method="sequential")
    attributes = {flag: np.bool_(value) for flag, value in flags.items()}
    return call(*operands, cell=scan.cell.name, isa=scan.isa, **attributes)


def _bytes(size: int) -> Any:
    return jax.ShapeDtypeStruct((size,), np.uint8)


def pack(scan: Scan, parameters: Sequence[Any], size: int, *, backward: bool) -> Any:
    """The cell's parameters, in the order of `functional.PARAMETERS`, packed for the kernels."""
    return _call("pack", scan, [_bytes(size)], parameters, backward=backward)[0]


def forward(
    scan: Scan,
    packed: Any,
    x: Any,
    initial: Sequence[Any],
    spans: Sequence[Any],
    *,
    saved: int | None = None,
) -> list[Any]:
    """y (T, B, H), the final states (B, H), and `saved` bytes for the pullback if asked for.

    Of a cell that projects its output, y and the first state have R columns.

    `spans` are lengths and resets, where the scan has them.
    """
    results = [jax.ShapeDtypeStruct((x.shape[0], *initial[0].shape), x.dtype)]
    results += [jax.ShapeDtypeStruct(state.shape, x.dtype) for state in initial]
    if saved is not None:
        results.append(_bytes(saved))
    return list(
        _call(
            "forward",
            scan,
            results,
            (packed, x, *initial, *spans),
            save=saved is not None,
            **_flags(scan),
        )
    )


def backward(
    scan: Scan,
    packed: Any,
    saved: Any,
    x: Any,
    spans: Sequence[Any],
    dy: Any,
    dfinal: Sequence[Any],
    *,
    needs_dx: bool,
) -> tuple[Any, list[Any], list[Any]]:
    """Back-propagation through time; dx or None, dinitial and the gradients of the parameters."""
    shapes: list[tuple[int, ...]] = [state.shape for state in dfinal]
    shapes += scan.parameter_shapes(x.shape[2], dfinal[-1].shape[1], dfinal[0].shape[1])
    if needs_dx:
        shapes.insert(0, x.shape)
    results = list(
        _call(
            "backward",
            scan,
            [jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes],
            (packed, saved, x, *spans, dy, *dfinal),
            needs_dx=needs_dx,
            **_flags(scan),
        )
    )
    dx = results.pop(0) if needs_dx else None
    return dx, results[: scan.state_count], results[scan.state_count :]


def _flags(scan: Scan) -> dict[str, bool]:
    return {"reverse": scan.reverse, "ragged": scan.ragged, "resetting": scan.resetting}
