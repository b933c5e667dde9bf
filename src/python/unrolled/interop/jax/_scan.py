"""One scan as a primitive of JAX: how it is run, traced, mapped and differentiated.

A mapped axis is folded into the batch before anything else, so that what is mapped first and
differentiated then, as the loss over a mapped model, is one scan in both passes.
"""

import functools
from collections.abc import Sequence
from typing import Any

from ..._extras import import_extra
from . import _calls
from ._calls import Scan

jax: Any = import_extra("jax", "jax")
core: Any = import_extra("jax.extend.core", "jax")
ad: Any = import_extra("jax.interpreters.ad", "jax")
batching: Any = import_extra("jax.interpreters.batching", "jax")
mlir: Any = import_extra("jax.interpreters.mlir", "jax")


def run_scan(
    scan: Scan, parameters: Sequence[Any], x: Any, initial: Sequence[Any], spans: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """y (T, B, H) and the final states (B, H). Shapes and dtypes have been checked.

    `spans` are lengths and resets, where the scan has them.
    """
    y, *final = _scan.bind(*parameters, x, *initial, *spans, scan=scan)
    return y, final


def _split(scan: Scan, operands: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """Parameters, x, initial states, spans."""
    count = scan.parameter_count
    parameters, (x, *rest) = operands[:count], operands[count:]
    return parameters, x, rest[: scan.state_count], rest[scan.state_count :]


def _infer(scan: Scan, *operands: Any) -> list[Any]:
    parameters, x, initial, spans = _split(scan, operands)
    sizes = scan.sizes(x, initial, backward=False)
    packed = _calls.pack(scan, parameters, sizes.packed, backward=False)
    return _calls.forward(scan, packed, x, initial, spans)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _differentiable(scan: Scan, needs_dx: bool, *operands: Any) -> list[Any]:
    return _infer(scan, *operands)


def _keep(scan: Scan, needs_dx: bool, *operands: Any) -> tuple[list[Any], Any]:
    parameters, x, initial, spans = _split(scan, operands)
    sizes = scan.sizes(x, initial, backward=True)
    packed = _calls.pack(scan, parameters, sizes.packed, backward=True)
    *results, saved = _calls.forward(scan, packed, x, initial, spans, saved=sizes.saved)
    return results, (packed, saved, x, spans)


def _pull(scan: Scan, needs_dx: bool, kept: Any, dresults: Sequence[Any]) -> tuple[Any, ...]:
    packed, saved, x, spans = kept
    dy, *dfinal = dresults
    dx, dinitial, dparameters = _calls.backward(
        scan, packed, saved, x, spans, dy, dfinal, needs_dx=needs_dx
    )
    return (*dparameters, dx, *dinitial, *(None for _ in spans))


_differentiable.defvjp(_keep, _pull)


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, scan: Scan) -> Any:
    # Nothing is mapped any more, but for what is mapped after it was differentiated.
    needs_dx = type(tangents[scan.parameter_count]) is not ad.Zero
    tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
    return jax.jvp(
        functools.partial(_differentiable, scan, needs_dx), tuple(primals), tuple(tangents)
    )


def _fold(operands: Sequence[Any], axes: Sequence[Any], *, scan: Scan) -> tuple[Any, Any]:
    """The batching rule: the rows of all mapped calls are rows of one."""
    count = scan.parameter_count
    if any(axis is not None for axis in axes[:count]):
        return _one_by_one(operands, axes, scan)
    mapped = zip(operands, axes, strict=True)
    size = next(operand.shape[axis] for operand, axis in mapped if axis is not None)
    # Of x, the states, lengths (B,) and resets (T, B).
    batch_axes = [1, *[0] * scan.state_count, *[0] * scan.ragged, *[1] * scan.resetting]
    rows = [
        _rows(operand, axis, batch_axis, size)
        for operand, axis, batch_axis in zip(
            operands[count:], axes[count:], batch_axes, strict=True
        )
    ]
    y, *final = _scan.bind(*operands[:count], *rows, scan=scan)
    x, axis = operands[count], axes[count]
    batch = [length for n, length in enumerate(x.shape) if n != axis][1]
    # The mapped axis comes before the batch.
    results = [y.reshape(y.shape[0], size, batch, y.shape[2])]
    results += [state.reshape(size, batch, state.shape[1]) for state in final]
    return results, [1, *[0] * len(final)]


def _rows(operand: Any, axis: int | None, batch_axis: int, size: int) -> Any:
    """The mapped axis of the given size and the batch as one axis."""
    if axis is None:
        operand, axis = jax.numpy.broadcast_to(operand, (size, *operand.shape)), 0
    operand = jax.numpy.moveaxis(operand, axis, batch_axis)
    *before, _, batch = operand.shape[: batch_axis + 2]
    return operand.reshape(*before, size * batch, *operand.shape[batch_axis + 2 :])


def _one_by_one(operands: Sequence[Any], axes: Sequence[Any], scan: Scan) -> tuple[Any, Any]:
    """The batching rule where every mapped call has weights of its own."""
    moved = [
        None if axis is None else jax.numpy.moveaxis(operand, axis, 0)
        for operand, axis in zip(operands, axes, strict=True)
    ]

    def call(own: Sequence[Any]) -> Any:
        pairs = zip(operands, own, strict=True)
        return _scan.bind(*(shared if one is None else one for shared, one in pairs), scan=scan)

    results = jax.lax.map(call, moved)
    return results, [0] * len(results)


def _shapes(*operands: Any, scan: Scan) -> list[Any]:
    _, x, initial, _ = _split(scan, operands)
    array = jax.core.ShapedArray
    y = array((x.shape[0], *initial[0].shape), x.dtype)
    return [y, *(array(state.shape, x.dtype) for state in initial)]


_scan: Any = core.Primitive("unrolled_scan")
_scan.multiple_results = True
_scan.def_abstract_eval(_shapes)
_run: Any = jax.jit(_infer, static_argnums=0)
_scan.def_impl(lambda *operands, scan: _run(scan, *operands))
mlir.register_lowering(
    _scan, mlir.lower_fun(lambda *operands, scan: _infer(scan, *operands)), platform="cpu"
)
ad.primitive_jvps[_scan] = _jvp
batching.primitive_batchers[_scan] = _fold
