"""Convolutions, batch normalisation and pooling over images with channels last.

Letters: N images, H x W their places, C channels, O outputs, G groups, h x w taps of a kernel, s
and t the steps down and to the right, padding ((top, bottom), (left, right)) of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._types import Array

Padding = tuple[tuple[int, int], tuple[int, int]]


def activation_vjp(name: str, z: Array, dy: Array) -> tuple[Array, Array]:
    """f(z) and the gradient dz, for f = "none", "relu" or "relu6"."""
    if name == "none":
        return z, dy
    top = {"relu": np.inf, "relu6": 6.0}[name]
    return np.clip(z, 0.0, top), np.where((z > 0) & (z < top), dy, 0.0)


def windows(
    shape: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Yields ((i, j), taps, places) for each place of the result.

    `places` are the rows and columns of the image that it sees, `taps` those of the kernel that
    look at them; the others look at padding.
    """
    axes = []
    for size, taps, step, (before, after) in zip(shape[1:3], kernel, stride, padding, strict=True):
        seen = []
        for begin in range(-before, size + after - taps + 1, step):
            first, end = max(begin, 0), max(min(begin + taps, size), 0)
            seen.append((slice(first - begin, max(end, first) - begin), slice(first, end)))
        axes.append(seen)
    for i, (u, rows) in enumerate(axes[0]):
        for j, (v, columns) in enumerate(axes[1]):
            yield (i, j), (u, v), (rows, columns)


def conv2d_vjp(
    x: Array,
    weight: Array,
    bias: Array,
    dy: Array,
    *,
    stride: tuple[int, int],
    padding: Padding,
    groups: int,
    activation: str,
) -> tuple[Array, Array, Array, Array]:
    """y (N, H', W', O), dx, dweight (O, C / G, h, w) and dbias (O) of gradients dy.

    z[n, i, j, o] = bias[o] + sum over (c, u, v) of weight[o, c, u, v] x[n, i*s + u, j*t + v, c]
    """
    z = np.zeros(dy.shape) + bias
    inputs, outputs = x.shape[3] // groups, weight.shape[0] // groups
    steps = list(windows(x.shape, weight.shape[2:], stride, padding))
    for (i, j), (u, v), (rows, columns) in steps:
        for g in range(groups):
            out = slice(g * outputs, (g + 1) * outputs)
            seen = x[:, rows, columns, g * inputs : (g + 1) * inputs]
            z[:, i, j, out] += np.einsum("nuvc,ocuv->no", seen, weight[out, :, u, v])
    y, dz = activation_vjp(activation, z, dy)
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for (i, j), (u, v), (rows, columns) in steps:
        for g in range(groups):
            out, into = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
            d, seen = dz[:, i, j, out], x[:, rows, columns, into]
            dweight[out, :, u, v] += np.einsum("no,nuvc->ocuv", d, seen)
            dx[:, rows, columns, into] += np.einsum("no,ocuv->nuvc", d, weight[out, :, u, v])
    return y, dx, dweight, dz.sum(axis=(0, 1, 2))


def batch_norm_vjp(
    x: Array,
    weight: Array,
    bias: Array,
    dy: Array,
    *,
    eps: float,
    activation: str,
    running: tuple[Array, Array] | None,
) -> tuple[Array, Array, Array, Array]:
    """y, dx, dweight and dbias of dy; by the `running` mean and variance, or by those of x."""
    axes = (0, 1, 2)
    mean, variance = (x.mean(axes), x.var(axes)) if running is None else running
    deviation = np.sqrt(variance + eps)
    normal = (x - mean) / deviation
    y, dz = activation_vjp(activation, normal * weight + bias, dy)
    dnormal = dz * weight
    dx = dnormal / deviation
    if running is None:
        dx = (dnormal - dnormal.mean(axes) - normal * (dnormal * normal).mean(axes)) / deviation
    return y, dx, (dz * normal).sum(axes), dz.sum(axes)


def max_pool_vjp(
    x: Array, dy: Array, *, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> tuple[Array, Array]:
    """y (N, H', W', C), the largest value of each window, and dx, at the first of equals."""
    y, dx = np.full(dy.shape, -np.inf), np.zeros(x.shape)
    for (i, j), _, (rows, columns) in windows(x.shape, kernel, stride, padding):
        seen = x[:, rows, columns]
        for n, c in np.ndindex(len(x), x.shape[3]):
            part = seen[n, :, :, c]
            if part.size:
                u, v = np.unravel_index(np.argmax(part), part.shape)
                y[n, i, j, c] = part[u, v]
                dx[n, rows.start + u, columns.start + v, c] += dy[n, i, j, c]
    return y, dx
