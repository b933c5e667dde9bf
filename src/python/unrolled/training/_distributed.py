"""Data parallelism over MPI: `mpirun -n 4 unrolled train lm --distributed`.

MPI comes through mpi4py, which works with any MPI; the extra [mpi] brings one (MPICH) along.
"""

import os
import queue
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from unrolled import cuda, functional
from unrolled.layers import Layer
from unrolled.layers._place import move

from .._extras import import_extra
from ._complete import CompleteParts
from ._group import Group
from ._types import Array

#: Seconds between two looks at what MPI does in the background. MPI's own waiting would spin, and
#: take a core from the computation that an all-reduce is to hide behind.
_PAUSE = 1e-4

#: Seconds that a rank with a core to itself looks without a pause, when it has nothing else to do.
_SPIN = 1e-3

#: Seconds between ranks in telling an error that all of them may have, and the longest wait.
_TURN, _LAST_TURN = 0.5, 2.0

#: Seconds after which a rank ends the job although another one has said that it would.
_PATIENCE = 30.0

#: Seconds that the launcher gets to pass on what a rank has said, before it is told to end all.
_LAST_WORDS = 1.0

#: CPUs of a machine that Linux can have.
_MOST_CPUS = 8192

#: Errors that a user can mend: told without a traceback.
_MENDABLE = (ValueError, OSError, ImportError, MemoryError, KeyboardInterrupt)

#: How the launchers of MPICH, Open MPI and Slurm tell a process how many there are.
_LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


@dataclass
class Traffic:
    """What went through the all-reduces of the gradients so far.

    Attributes:
        messages: how many all-reduces.
        bytes: of gradients.
        busy_seconds: from the start of each to its end; not known of a device.
        exposed_seconds: how long `finish` waited; the rest was hidden behind BPTT.
    """

    messages: int = 0
    bytes: int = 0
    busy_seconds: float = 0.0
    exposed_seconds: float = 0.0


class MPIGroup(Group):
    """The ranks of an MPI job; see `Group`.

    A thread makes the all-reduces in the order in which gradients are completed, which is the same
    on all ranks; of a model on CUDA devices, one for each rank, NCCL makes them there. Which bits a
    sum has is up to the order of MPI's additions: the same for the same MPI, number of ranks and
    placement, and `check_same` makes sure that ranks do not drift apart.

    The threads of the kernels are divided among the ranks of a machine, unless UNROLLED_NUM_THREADS
    says how many a rank shall have.

    Attributes:
        traffic: what the all-reduces took so far.

    Raises:
        ImportError: mpi4py or an MPI library is missing.
        RuntimeError: the MPI library takes calls of one thread only, or is not the launcher's.
    """

    def __init__(self) -> None:
        self._mpi = _import_mpi()
        world = self._mpi.COMM_WORLD
        self.rank, self.size = world.Get_rank(), world.Get_size()
        launched = max(int(os.environ.get(name, "1")) for name in _LAUNCHED)
        if self.size == 1 and launched > 1:
            raise RuntimeError(
                f"{launched} processes were started, but each is alone: mpirun belongs to another "
                "MPI than the one that mpi4py uses "
                f"({self._mpi.Get_library_version().splitlines()[0].strip()})"
            )
        if self._mpi.Query_thread() < self._mpi.THREAD_MULTIPLE:
            raise RuntimeError("this MPI has no MPI_THREAD_MULTIPLE, which is needed")
        self._comm = world.Dup()
        here = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        self.traffic = Traffic()
        self._model: Layer | None = None
        self._sums: cuda.DeviceSums | None = None  # of a model on a device
        self._parts: CompleteParts | None = None
        self._queue: queue.SimpleQueue[Array | threading.Event] = queue.SimpleQueue()
        self._waiting = threading.Event()
        self._error: BaseException | None = None
        threading.Thread(target=self._reduce_all, name="all-reduce", daemon=True).start()
        cpus = self._fair_cpus(here)
        here.Free()
        self._spin = _SPIN if cpus >= 1.0 else 0.0
        if "UNROLLED_NUM_THREADS" not in os.environ:
            functional.set_num_threads(max(1, int(cpus)))

    def watch(self, model: Layer) -> None:
        """See `Group.watch`."""
        self._model = model
        if model.place == "cuda":
            self._sums = cuda.DeviceSums(self.rank, self.size, self._first_bytes)

    def begin(self) -> None:
        """See `Group.begin`."""
        model = self._watched()
        grads = model.flat.grads
        self._parts = CompleteParts(model.flat, lambda place: self._put(grads[place]))
        model.listen(self._parts)

    def finish(self) -> None:
        """See `Group.finish`."""
        started = time.perf_counter()
        model = self._watched()
        model.listen(None)
        grads = model.flat.grads
        rest = [slice(None)] if self._parts is None else self._parts.rest()
        self._parts = None
        for place in rest:
            self._put(grads[place])
        if self._sums is not None:
            self._sums.finish()  # which the next work on the device waits for, not this thread
            return
        done = threading.Event()
        self._queue.put(done)
        self._waiting.set()
        done.wait()
        self._waiting.clear()
        self.traffic.exposed_seconds += time.perf_counter() - started
        if self._error is not None:
            raise self._error

    def sum(self, values: Sequence[float]) -> list[float]:
        """See `Group.sum`."""
        sums = np.array(values, np.float64)
        self._wait(self._comm.Iallreduce(self._mpi.IN_PLACE, sums))
        return [float(value) for value in sums]

    def broadcast(self, value: float) -> float:
        """See `Group.broadcast`."""
        buffer = np.array([value], np.float64)
        self._wait(self._comm.Ibcast(buffer))
        return float(buffer[0])

    def gather(self, share: Array) -> Array:
        """See `Group.gather`."""
        share = move(share, "cpu")
        parts = np.empty((self.size, *share.shape), share.dtype)
        self._wait(self._comm.Iallgather(np.ascontiguousarray(share), parts))
        return np.concatenate(list(parts), axis=1)

    def rng(self, shared: np.random.Generator) -> np.random.Generator:
        """See `Group.rng`."""
        return np.random.default_rng([int(shared.integers(2**63)), self.rank])

    def check_same(self, what: str, array: Array) -> None:
        """See `Group.check_same`."""
        mine = np.array([zlib.crc32(move(array, "cpu").tobytes())], np.int64)
        everybodys = np.empty(self.size, mine.dtype)
        self._wait(self._comm.Iallgather(mine, everybodys))
        different = np.flatnonzero(everybodys != everybodys[0])
        if different.size:
            raise RuntimeError(
                f"{what} of rank {', '.join(map(str, different))} are not the same as rank 0's: "
                "all ranks need the same files, versions and instruction set (UNROLLED_ISA)"
            )

    def abort(self, error: BaseException) -> NoReturn:
        """Tells the error, unless another rank has told one, and ends all ranks; not collective."""
        world = self._mpi.COMM_WORLD
        time.sleep(min(_TURN * self.rank, _LAST_TURN))
        # Whoever tells an error says so to all others first: one of many ranks is enough.
        if any(world.Iprobe() for _ in range(100)):
            time.sleep(_PATIENCE)
            world.Abort(1)
        said = [world.Isend(bytearray(1), rank) for rank in range(self.size) if rank != self.rank]
        if not isinstance(error, _MENDABLE):
            traceback.print_exception(error)
        print(
            f"error: rank {self.rank} of {self.size}: {str(error) or type(error).__name__}\n"
            "All ranks end. A checkpoint that was written before is whole and can be resumed.",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(_LAST_WORDS)
        self._mpi.Request.Testall(said)
        world.Abort(1)
        os._exit(1)  # some MPIs return; the usual end of Python would wait for the other ranks

    def _first_bytes(self, mine: Array) -> Array:
        """Returns rank 0's bytes."""
        self._wait(self._comm.Ibcast(mine))
        return mine

    def _put(self, part: Array) -> None:
        """Begins to sum a part of the gradient, on the device or in the thread."""
        if self._sums is None:
            self._queue.put(part)
            return
        self._sums.add(part)
        self.traffic.messages += 1
        self.traffic.bytes += part.nbytes

    def _watched(self) -> Layer:
        if self._model is None:
            raise RuntimeError("[MPIGroup] watch(model) comes first")
        return self._model

    def _reduce_all(self) -> None:
        """What the thread does: sums one array after the other."""
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            elif self._error is None:
                try:
                    self._reduce(item)
                except BaseException as error:  # for `finish` to raise
                    self._error = error

    def _reduce(self, part: Array) -> None:
        started = time.perf_counter()
        request = self._comm.Iallreduce(self._mpi.IN_PLACE, part)
        while not self._waiting.is_set() and not request.Test():
            self._waiting.wait(_PAUSE)
        self._wait(request)
        self.traffic.messages += 1
        self.traffic.bytes += part.nbytes
        self.traffic.busy_seconds += time.perf_counter() - started

    def _wait(self, request: Any) -> None:
        """Waits until a request is complete; rank 0 may be validating for minutes meanwhile."""
        patient = time.perf_counter() + self._spin
        while not request.Test():
            if time.perf_counter() >= patient:
                time.sleep(_PAUSE)

    def _fair_cpus(self, here: Any) -> float:
        """Returns this rank's part of the CPUs that it shares with other ranks of the machine.

        Launchers may bind each rank to CPUs of its own: those are not divided once more.
        """
        if hasattr(os, "sched_getaffinity"):
            cpus = sorted(os.sched_getaffinity(0))
        else:  # only Linux binds processes to CPUs
            cpus = list(range(functional.get_num_threads()))
        mine = np.zeros(_MOST_CPUS, np.int64)
        mine[cpus] = 1
        ranks = np.empty_like(mine)  # how many of them may run on each CPU
        here.Allreduce(mine, ranks)
        return float((1.0 / ranks[cpus]).sum()) + 1e-9


@contextmanager
def mpi_group() -> Iterator[MPIGroup]:
    """Returns the group of this MPI job; an exception on any rank ends all of them.

    Otherwise the rest would wait for the failed one for ever. Exceptions that all ranks agree on,
    such as the end after Ctrl-C, belong outside of the `with` block.
    """
    group = MPIGroup()
    try:
        yield group
    except BaseException as error:
        group.abort(error)


def _import_mpi() -> Any:
    try:
        return import_extra("mpi4py.MPI", "mpi")
    except RuntimeError as error:  # mpi4py is there, but finds no library to work with
        raise ImportError(
            'mpi4py finds no MPI library: pip install "unrolled[mpi]" brings one', name="mpi4py"
        ) from error
