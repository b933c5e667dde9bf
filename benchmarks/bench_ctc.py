"""CTC loss and gradient beside torch's, in one run.

    python benchmarks/bench_ctc.py [--threads 1]

Milliseconds are medians; torch takes log_softmax, ctc_loss and backward, ours the fused call.
"""

import argparse

import numpy as np
import torch

import unrolled
from unrolled import functional
from unrolled.bench._timing import measure

# T, B, V, S: phonemes, letters, keywords, word pieces, long utterances.
SHAPES = [
    (100, 32, 41, 20),
    (200, 32, 29, 40),
    (100, 64, 13, 5),
    (500, 16, 500, 60),
    (1000, 16, 30, 150),
]
SECONDS = 2.0  # for each shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    unrolled.set_num_threads(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    print("| T, B, V, S | unrolled, ms | torch, ms | ratio |\n|:--|--:|--:|--:|")
    for steps, batch, symbols, length in SHAPES:
        logits = rng.standard_normal((steps, batch, symbols), np.float32)
        labels = rng.integers(1, symbols, (batch, length))
        theirs = torch.tensor(logits, requires_grad=True)
        targets = torch.tensor(labels)
        lengths = torch.full((batch,), steps), torch.full((batch,), length)

        def of_torch() -> None:
            theirs.grad = None  # noqa: B023
            log_p = theirs.log_softmax(-1)  # noqa: B023
            loss = torch.nn.functional.ctc_loss(log_p, targets, *lengths, reduction="sum")  # noqa: B023
            loss.backward()

        def of_ours() -> None:
            functional.ctc_loss_vjp(logits, labels)  # noqa: B023

        times = measure({"ours": of_ours, "torch": of_torch}, seconds=SECONDS)
        ours, other = (1e3 * times[name].median for name in ("ours", "torch"))
        shape = ", ".join(map(str, (steps, batch, symbols, length)))
        print(f"| {shape} | {ours:.2f} | {other:.2f} | {other / ours:.1f}x |")


if __name__ == "__main__":
    main()
