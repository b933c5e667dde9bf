"""Encoder and decoder with attention beside torch in eager mode, in one run.

    python benchmarks/bench_seq2seq.py [--threads 1]

Milliseconds are medians of the loss of one batch and its gradients. Both sides: one bidirectional
LSTM layer over the source, one LSTM layer over the target with general attention, with and without
input feeding, softmax over V. "bf16": recurrent layers and losses in bfloat16 (`--precision bf16`),
torch under `autocast`.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

import unrolled
from unrolled.bench._timing import measure
from unrolled.models import Seq2Seq

# B, S = T, H = E, V
SHAPES = [(64, 20, 256, 4000), (16, 20, 256, 4000), (64, 20, 128, 200), (96, 14, 384, 8000)]
SECONDS = 6.0  # for each shape


class Peer(torch.nn.Module):
    """The same model, as one writes it with torch."""

    def __init__(self, hidden: int, vocabulary: int, feeding: bool) -> None:
        super().__init__()
        self.feeding = feeding
        self.source = torch.nn.Embedding(vocabulary, hidden)
        self.target = torch.nn.Embedding(vocabulary, hidden)
        self.encoder = torch.nn.LSTM(hidden, hidden // 2, bidirectional=True)
        self.bridge = torch.nn.ModuleList([torch.nn.Linear(hidden, hidden) for _ in range(2)])
        self.decoder = torch.nn.LSTM(hidden, hidden)
        self.cell = torch.nn.LSTMCell(2 * hidden, hidden)
        self.attention = torch.nn.Linear(hidden, hidden, bias=False)
        self.output = torch.nn.Linear(2 * hidden, hidden)
        self.head = torch.nn.Linear(hidden, vocabulary)
        self.head.weight = self.target.weight

    def forward(self, sources: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        memory, (h, c) = self.encoder(self.source(sources))
        h = torch.tanh(self.bridge[0](h.transpose(0, 1).flatten(1)))
        c = self.bridge[1](c.transpose(0, 1).flatten(1))
        inputs = torch.cat([torch.zeros_like(targets[:1]), targets[:-1]])
        x, places = self.target(inputs), memory.transpose(0, 1)

        def read(hidden: torch.Tensor) -> torch.Tensor:  # (B, T, H)
            scores = self.attention(hidden) @ places.transpose(1, 2)
            contexts = scores.softmax(-1) @ places
            return torch.tanh(self.output(torch.cat([contexts, hidden], -1)))

        if self.feeding:
            output, steps = torch.zeros_like(h), []
            for x_t in x:
                h, c = self.cell(torch.cat([x_t, output], 1), (h, c))
                output = read(h[:, None])[:, 0]
                steps.append(output)
            outputs = torch.stack(steps)
        else:
            hidden, _ = self.decoder(x, (h[None], c[None]))
            outputs = read(hidden.transpose(0, 1)).transpose(0, 1)
        logits = self.head(outputs)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    unrolled.set_num_threads(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    print(
        "| B, S = T, H, V | input feeding | unrolled, ms | torch | ratio | bf16 | torch | ratio |"
    )
    print("|:--|:--|--:|--:|--:|--:|--:|--:|")
    for batch, steps, hidden, vocabulary in SHAPES:
        sources, targets = rng.integers(1, vocabulary, (2, steps, batch))
        for feeding in (False, True):
            functions = contenders(sources, targets, hidden, vocabulary, feeding)
            times = measure(functions, seconds=SECONDS)
            mine, other, narrow, other_narrow = (1e3 * times[name].median for name in functions)
            shape = f"{batch}, {steps}, {hidden}, {vocabulary}"
            print(
                f"| {shape} | {'yes' if feeding else 'no'} | {mine:.1f} | {other:.1f} "
                f"| {other / mine:.1f}x | {narrow:.1f} | {other_narrow:.1f} "
                f"| {other_narrow / narrow:.1f}x |"
            )


def contenders(
    sources: np.ndarray, targets: np.ndarray, hidden: int, vocabulary: int, feeding: bool
) -> dict[str, Callable[[], None]]:
    """A loss and its gradients: ours and torch's, in float32 and in bfloat16."""
    lengths = np.full(sources.shape[1], len(sources))
    ours = Seq2Seq(
        vocabulary,
        vocabulary,
        embedding_size=hidden,
        hidden_size=hidden,
        input_feeding=feeding,
        rng=np.random.default_rng(0),
    )
    theirs = Peer(hidden, vocabulary, feeding)
    pair = torch.tensor(sources), torch.tensor(targets)

    def of_ours() -> None:
        ours.zero_grads()
        ours.loss_vjp(sources, lengths, targets, lengths)[1](1.0)

    def of_ours_narrow() -> None:
        with ours.in_precision("bf16"):
            of_ours()

    def of_torch() -> None:
        theirs.zero_grad()
        theirs(*pair).backward()

    def of_torch_narrow() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            of_torch()

    return {
        "ours": of_ours,
        "torch": of_torch,
        "ours, bf16": of_ours_narrow,
        "torch, bf16": of_torch_narrow,
    }


if __name__ == "__main__":
    main()
