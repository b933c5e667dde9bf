"""What the ranks of test_distributed.py run: python distributed_runs.py SCENARIO [ARGUMENTS]."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuda_devices
from unrolled import LanguageModel, cli, functional
from unrolled.layers._place import move
from unrolled.tasks import language_model as lm
from unrolled.training import SGD, Budget, Group, StreamBatches, Trainer, mpi_group, shard

TOKENS = np.random.default_rng(5).integers(0, 13, 3000)
BATCH, STEPS, HIDDEN, VOCABULARY, LAYERS = 8, 11, 96, 13, 2  # large enough for parts of their own


def make_trainer(
    updates: int,
    *,
    dtype: Any,
    dropout: float,
    group: Group | None = None,
    place: Any = "cpu",
) -> Trainer[Any]:
    """A tied two-layer model, plain SGD without clipping: errors of gradients stay visible."""
    rng = np.random.default_rng(1)
    model = LanguageModel(
        VOCABULARY,
        embedding_size=HIDDEN,
        hidden_size=HIDDEN,
        num_layers=LAYERS,
        tied=True,
        dropout=dropout,
        dtype=dtype,
        rng=rng,
    ).to(place)
    group = Group() if group is None else group

    def loss(batch: Any, carry: Any, rng: np.random.Generator) -> Any:
        state = batch.begin(carry)
        (value, state), pullback = model.loss_vjp(batch.tokens, batch.targets, state, rng=rng)
        return (value, batch.targets.size, state), pullback

    rows = shard(BATCH, group.rank, group.size)
    batches = StreamBatches(
        TOKENS,
        batch_size=rows.stop - rows.start,
        steps=STEPS,
        seed=1,
        rank=group.rank,
        size=group.size,
    )
    return Trainer(
        model,
        batches,
        loss,
        optimizer=SGD(model, lr=0.1),
        budget=Budget(steps=updates),
        rng=rng,
        clip_norm=None,
        validate=lambda: float(np.square(move(model.flat.values, "cpu")).sum()),
        validations=2,
        group=group,
    )


def trained(updates: int, **options: Any) -> dict[str, Any]:
    trainer = make_trainer(updates, **options)
    trainer.run()
    arrays, _ = trainer.state()
    points = [*trainer.history.training, *trainer.history.validation]
    return {
        **{name: np.array(array) for name, array in arrays.items()},
        "grads": np.array(move(trainer.model.flat.grads, "cpu")),
        "losses": np.array([point.loss for point in points]),
    }


def check_collectives(group: Group) -> None:
    rank, size = group.rank, group.size
    assert group.sum([1, rank, 0.5]) == [size, size * (size - 1) / 2, size / 2]
    assert np.isnan(group.sum([np.nan if rank == 1 else 1.0]))  # told to all
    assert group.broadcast(10.0 + rank) == 10.0

    whole = np.arange(2 * 3 * size * 5, dtype=np.float32).reshape(2, 3 * size, 5)
    share = group.share(whole)
    np.testing.assert_array_equal(share, whole[:, 3 * rank : 3 * rank + 3])
    np.testing.assert_array_equal(group.gather(share), whole)

    shared = np.random.default_rng(3)
    own = float(group.rng(shared).random())
    group.check_same("generators", np.array([shared.random()]))
    draws = group.gather(np.full((1, 1, 1), own)).ravel()
    assert len(set(draws)) == size, draws

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert functional.get_num_threads() == max(1, (cpus or 1) // size)

    group.check_same("nothing", np.empty(0))
    with pytest.raises(RuntimeError, match=f"numbers of rank {size - 1} are not the same"):
        group.check_same("numbers", np.array([1.0, 2.0 if rank == size - 1 else 3.0]))


def run_training(folder: str) -> None:
    with mpi_group() as group:
        check_collectives(group)
        results = {
            "gradient": trained(1, dtype=np.float32, dropout=0.0, group=group),
            "updates": trained(40, dtype=np.float64, dropout=0.0, group=group),
            "dropout": trained(20, dtype=np.float32, dropout=0.4, group=group),
            "again": trained(20, dtype=np.float32, dropout=0.4, group=group),
        }
        assert group.traffic.messages > 2 * 81, group.traffic  # a part and a rest at least
        assert group.traffic.bytes > 0
        if group.rank == 0:
            for name, arrays in results.items():
                np.savez(Path(folder) / f"{name}.npz", **arrays)


def run_command(fault: str, *arguments: str) -> None:
    """The command line with a fault in rank 1's 17th loss."""
    calls, loss = 0, lm.LanguageModelling.loss

    def faulty_loss(self: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 17 and self.group.rank == 1:
            if fault == "raise":
                raise RuntimeError("a fault of rank 1")
            if fault in ("SIGINT", "SIGKILL"):
                os.kill(os.getpid(), getattr(signal, fault))
        return loss(self, *args)

    lm.LanguageModelling.loss = faulty_loss  # type: ignore[method-assign]
    cli.main(arguments)


class EmulatedNccl:
    """cupy.cuda.nccl, by MPI: arrays of the emulated device lie on the host."""

    NCCL_FLOAT32, NCCL_SUM = 7, 0
    sums = 0

    @staticmethod
    def get_unique_id() -> tuple[int, ...]:
        return tuple(range(-64, 64))

    class NcclCommunicator:
        def __init__(self, size: int, identity: tuple[int, ...], rank: int) -> None:
            from mpi4py import MPI

            self.mpi, self.comm = MPI, MPI.COMM_WORLD.Dup()
            assert (self.comm.Get_size(), self.comm.Get_rank()) == (size, rank)
            assert identity == EmulatedNccl.get_unique_id()

        def allReduce(  # noqa: N802
            self, send: int, to: int, count: int, kind: int, what: int, _: int
        ) -> None:
            assert (send, kind, what) == (to, EmulatedNccl.NCCL_FLOAT32, EmulatedNccl.NCCL_SUM)
            values = np.ctypeslib.as_array((ctypes.c_float * count).from_address(send))
            self.comm.Allreduce(self.mpi.IN_PLACE, values)
            EmulatedNccl.sums += 1


def run_on_devices(module: str, folder: str) -> None:
    """Training with a model on an emulated device in each rank."""
    with pytest.MonkeyPatch.context() as patch:
        path = Path(module)
        device = cuda_devices.use_emulated(patch, cuda_devices.load(path), path)
        patch.setattr(device.cupy.cuda, "nccl", EmulatedNccl, raising=False)
        patch.setitem(sys.modules, "cupy.cuda.nccl", EmulatedNccl)
        with mpi_group() as group:
            assert (group.local_rank, group.local_size) == (group.rank, group.size)
            results = {
                name: trained(count, dtype=np.float32, dropout=dropout, group=group, place="cuda")
                for name, count, dropout in (("gradient", 1, 0.0), ("dropout", 3, 0.4))
            }
            assert EmulatedNccl.sums == group.traffic.messages > 2 * 4  # parts, and rests
            if group.rank == 0:
                for name, arrays in results.items():
                    np.savez(Path(folder) / f"{name}.npz", **arrays)


if __name__ == "__main__":
    scenario, *rest = sys.argv[1:]
    scenarios = {"training": run_training, "command": run_command, "devices": run_on_devices}
    scenarios[scenario](*rest)
