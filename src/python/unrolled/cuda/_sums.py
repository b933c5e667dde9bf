"""Sums over the devices of several processes, by NVIDIA's NCCL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._extras import import_extra
from ._arrays import array_module
from ._views import Views


def use_device(rank: int, ranks: int) -> None:
    """Makes a device of its own the current one of this process, of `ranks` on this machine.

    Raises:
        ValueError: there are fewer devices than processes.
    """
    from .. import _cuda

    devices = _cuda.device_count()
    if ranks > devices:
        raise ValueError(
            f"expected a CUDA device for each process of a machine, got {devices} for {ranks}"
        )
    if ranks > 1:  # a process alone stays where CuPy is
        cupy: Any = import_extra("cupy", "cuda")
        cupy.cuda.Device(rank).use()


class DeviceSums:
    """Sums of arrays of all processes, made where they lie, on a stream of their own.

    ::

        sums = DeviceSums(rank, size, broadcast)
        sums.add(part)                      # work that the current stream has behind it is seen
        sums.finish()                       # what the current stream gets next sees the sums

    Nothing here waits for a device. The order of NCCL's additions is that of its rings and trees,
    the same for the same devices.

    Args:
        rank: of this process.
        size: how many there are.
        broadcast: rank 0's bytes for all, from an array of int8 in each process.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        broadcast: Callable[[NDArray[np.int8]], NDArray[np.int8]],
    ) -> None:
        self._cupy: Any = import_extra("cupy", "cuda")
        self._nccl: Any = import_extra("cupy.cuda.nccl", "cuda")
        identity = np.array(self._nccl.get_unique_id(), np.int8)
        name = tuple(broadcast(identity).tolist())
        self._communicator = self._nccl.NcclCommunicator(size, name, rank)
        self._stream = self._cupy.cuda.Stream(non_blocking=True)

    def add(self, part: Any) -> None:
        """Puts the sum of a contiguous float32 array, over all processes, in its place."""
        self._follow(self._stream, self._cupy.cuda.get_current_stream())
        arrays = array_module("sum", part)
        address = Views("sum", arrays.stream).of("part", part).address
        nccl = self._nccl
        self._communicator.allReduce(
            address, address, part.size, nccl.NCCL_FLOAT32, nccl.NCCL_SUM, self._stream.ptr
        )

    def finish(self) -> None:
        """Lets the current stream wait for all sums."""
        self._follow(self._cupy.cuda.get_current_stream(), self._stream)

    def _follow(self, later: Any, earlier: Any) -> None:
        event = self._cupy.cuda.Event(disable_timing=True)
        event.record(earlier)
        later.wait_event(event)
