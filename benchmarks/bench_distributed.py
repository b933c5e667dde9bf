"""What data parallelism costs: measured on the ranks of an MPI job, or modelled for a cluster.

    for n in 1 2 4; do mpirun -n $n python benchmarks/bench_distributed.py; done
    python benchmarks/bench_distributed.py --model --machines 64

Measured, per update, medians over the updates and means over the ranks: the time of forward pass
and BPTT; the time that the all-reduces of the gradients took beside them (hidden) and after them
(exposed), waiting for slower ranks included; and the two small messages (losses, clock). Every rank
has the same batch of its own, so that compute would stay the same with a core for every thread.

The model: an all-reduce of b bytes among N machines takes

    2 (N - 1) / N * b / bandwidth + 2 log2(N) * latency

(reduce-scatter and all-gather: each byte leaves a machine twice, but for its own N-th part; Thakur,
Rabenseifner and Gropp 2005). A part begins when its layer's BPTT is done and the part before it is
through. What is left when BPTT ends is exposed.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unrolled import LanguageModel, functional
from unrolled.training import AdamW, MPIGroup, mpi_group

NAMES = {"char": "char LM, LSTM 256", "wide": "char LM, 2 x LSTM 1024", "word": "word LM, 40 M"}
SIZES = {
    "char": {"vocab_size": 100, "embedding_size": 64, "hidden_size": 256, "num_layers": 1},
    "wide": {"vocab_size": 100, "embedding_size": 64, "hidden_size": 1024, "num_layers": 2},
    "word": {"vocab_size": 11_500, "embedding_size": 1024, "hidden_size": 1024, "num_layers": 2},
}


def measure(group: MPIGroup, size: str, *, batch: int, steps: int, updates: int) -> str:
    """Returns a row of the table of `measured`; collective."""
    model = LanguageModel(**SIZES[size], rng=np.random.default_rng(0))
    optimizer = AdamW(model, lr=1e-3)
    group.watch(model)
    vocabulary = SIZES[size]["vocab_size"]
    text = np.random.default_rng(group.rank).integers(0, vocabulary, (steps + 1, batch))
    state, samples, traffic = None, [], group.traffic
    for _ in range(updates + 3):
        busy, exposed = traffic.busy_seconds, traffic.exposed_seconds
        messages, transferred = traffic.messages, traffic.bytes
        started = time.perf_counter()
        model.zero_grads()
        group.begin()
        (loss, state), pullback = model.loss_vjp(text[:-1], text[1:], state)
        pullback(float(text[1:].size))
        computed = time.perf_counter()
        group.finish()
        summed = time.perf_counter()
        _, count = group.sum([loss * text[1:].size, text[1:].size])
        group.broadcast(started)
        told = time.perf_counter()
        optimizer.step(grad_scale=1.0 / count)
        exposed = traffic.exposed_seconds - exposed
        hidden = max(0.0, traffic.busy_seconds - busy - exposed)
        samples.append([computed - started, hidden, exposed, told - summed])
    medians = np.median(np.array(samples[3:]), axis=0)  # the first warm up
    compute, hidden, exposed, small = (s / group.size * 1e3 for s in group.sum(list(medians)))
    share = (exposed + small) / (compute + exposed + small)
    return (
        f"| {NAMES[size]} | {group.size} | {(traffic.bytes - transferred) / 1e6:.2f} MB in "
        f"{traffic.messages - messages} | {compute:.1f} | {hidden:.1f} | {exposed:.1f} | "
        f"{small:.2f} | {share:.0%} |"
    )


def measured(sizes: Sequence[str], *, batch: int, steps: int, updates: int) -> None:
    with mpi_group() as group:
        rows = [measure(group, size, batch=batch, steps=steps, updates=updates) for size in sizes]
        if group.rank > 0:
            return
        threads = functional.get_num_threads()
        print(f"{batch} rows of {steps} tokens a rank, {threads} threads a rank, ms per update\n")
        print("| model | ranks | all-reduced | compute | hidden | exposed | small | share |")
        print("|:--|--:|--:|--:|--:|--:|--:|--:|")
        print("\n".join(rows))


@dataclass(frozen=True)
class Cluster:
    """N machines: bytes/s and seconds of the network, FLOP/s of each machine in training."""

    machines: int
    bandwidth: float
    latency: float
    flops: float

    def all_reduce(self, nbytes: float) -> float:
        """Seconds of one all-reduce."""
        share = 2.0 * (self.machines - 1) / self.machines
        return share * nbytes / self.bandwidth + 2.0 * math.log2(self.machines) * self.latency


@dataclass(frozen=True)
class Part:
    """What one all-reduce sums: bytes, and the operations of BPTT after the part before."""

    nbytes: float
    operations: float


def parts(size: str, tokens: int) -> list[Part]:
    """The parts of a model in the order of BPTT: head, layers, embedding, then all vectors."""
    E, H = SIZES[size]["embedding_size"], SIZES[size]["hidden_size"]
    V, layers = SIZES[size]["vocab_size"], SIZES[size]["num_layers"]
    # The head's gradient comes with its loss, in the forward pass; a layer's takes two products of
    # 2 operations a weight and token; an embedding's is a few additions.
    inputs = [H] * (layers - 1) + [E]
    recurrent = [4 * H * (size_in + H) for size_in in inputs]
    vectors = 8 * H * layers + V
    return [
        Part(4.0 * V * H, 0.0),
        *(Part(4.0 * weights, 4.0 * weights * tokens) for weights in recurrent),
        Part(4.0 * V * E, 0.0),
        Part(4.0 * vectors, 0.0),
    ]


def exposed_seconds(cluster: Cluster, order: Sequence[Part]) -> float:
    """Seconds of communication after the end of BPTT."""
    computed = sent = 0.0
    for part in order:
        computed += part.operations / cluster.flops
        sent = max(sent, computed) + cluster.all_reduce(part.nbytes)
    return max(0.0, sent - computed)


def modelled(machines: int, *, gflops: float, latency: float, batch: int, steps: int) -> None:
    tokens = batch * steps
    print(
        f"{machines} machines of {gflops:g} GFLOP/s, {batch} rows of {steps} tokens each, "
        f"latency {latency * 1e6:g} us; ms per update\n"
    )
    print(
        "| model | bytes | compute | Gbit/s | all-reduce | exposed | efficiency | speed-up "
        "| batches per update for 90% |"
    )
    print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|")
    for size, name in NAMES.items():
        order = parts(size, tokens)
        nbytes = sum(part.nbytes for part in order)
        # Forward, gradients of inputs and of weights: 6 operations a weight and token; looking up
        # is none.
        embedding = SIZES[size]["vocab_size"] * SIZES[size]["embedding_size"]
        compute = 6.0 * (nbytes / 4.0 - embedding) * tokens / (gflops * 1e9)
        for gigabits in (1, 10, 25, 100):
            cluster = Cluster(machines, gigabits * 1e9 / 8, latency, gflops * 1e9)
            total = sum(cluster.all_reduce(part.nbytes) for part in order)
            small = cluster.all_reduce(24.0) + math.log2(machines) * latency  # losses, clock
            exposed = exposed_seconds(cluster, order) + small
            efficiency = compute / (compute + exposed)
            needed = max(1, math.ceil(9.0 * exposed / compute))
            print(
                f"| {name} | {nbytes / 1e6:.1f} MB | {compute * 1e3:.1f} | {gigabits} "
                f"| {total * 1e3:.1f} | {exposed * 1e3:.1f} | {efficiency:.0%} "
                f"| {machines * efficiency:.0f} | {needed} |"
            )


def bench_model() -> None:
    """The model, where its answer can be told by hand."""
    gradient = [Part(1e6, 0.0), Part(1e6, 1e9), Part(1e6, 1e9)]
    alone = Cluster(machines=1, bandwidth=1e9, latency=1e-5, flops=1e12)
    assert exposed_seconds(alone, gradient) == 0.0
    pair = Cluster(machines=2, bandwidth=1e9, latency=0.0, flops=1e12)
    assert math.isclose(pair.all_reduce(1e6), 1e-3)
    # BPTT takes 2 ms, a part 1 ms: each is through when the next one is ready, but for the last.
    assert math.isclose(exposed_seconds(pair, gradient), 1e-3)
    slow = Cluster(machines=2, bandwidth=1e8, latency=0.0, flops=1e12)
    assert math.isclose(exposed_seconds(slow, gradient), 28e-3)  # 3 x 10 ms, 2 ms hidden
    for size in SIZES:
        bytes_ = 4 * LanguageModel(**SIZES[size], init="zeros").num_parameters
        assert sum(part.nbytes for part in parts(size, tokens=1)) == bytes_


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="store_true", help="model a cluster; needs no MPI")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["char"])
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16, help="rows per rank or machine")
    parser.add_argument("--steps", type=int, default=64, help="tokens per row")
    parser.add_argument("--machines", type=int, default=64)
    parser.add_argument("--gflops", type=float, default=500.0, help="of a machine in training")
    parser.add_argument("--latency", type=float, default=30e-6, help="seconds of a message")
    options = parser.parse_args()
    if options.model:
        modelled(
            options.machines,
            gflops=options.gflops,
            latency=options.latency,
            batch=options.batch,
            steps=options.steps,
        )
    else:
        measured(options.sizes, batch=options.batch, steps=options.steps, updates=options.updates)


if __name__ == "__main__":
    main()
