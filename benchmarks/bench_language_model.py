"""How many characters a second a character language model trains on, ours beside torch.

Both train the same model from the same weights on the same text: an embedding of 64, one LSTM of
256, a softmax; batches of 16 rows of 64 characters, the state carried on, AdamW, gradients clipped
to norm 1. They take turns in one process with the same number of threads, and their losses over the
first updates must agree, so that both provably do the same work.

    python benchmarks/bench_language_model.py --threads 2 --markdown benchmarks/RESULTS.md

Under pytest each of the two is a benchmark of its own.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Any

import numpy as np
import pytest

from unrolled import LanguageModel, bench, functional
from unrolled.bench import CHAR_LM_SHAPE
from unrolled.training import AdamW, clip_scale

VOCABULARY = 100
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
CHECKED_UPDATES = 5
STEPS, BATCH = CHAR_LM_SHAPE.steps, CHAR_LM_SHAPE.batch
CHARACTERS = CHAR_LM_SHAPE.tokens  # of one update


def make_text(updates: int = 32) -> np.ndarray:
    """Characters (updates, T + 1, B) int64; how fast a model trains does not depend on which."""
    rng = np.random.default_rng(0)
    return rng.integers(0, VOCABULARY, (updates, STEPS + 1, BATCH))


def make_model() -> LanguageModel:
    return LanguageModel(
        VOCABULARY,
        embedding_size=CHAR_LM_SHAPE.inputs,
        hidden_size=CHAR_LM_SHAPE.hidden,
        rng=np.random.default_rng(0),
    )


class OursTraining:
    """The model and the optimizer of `unrolled`, put together as the training loop does."""

    name = "unrolled"

    def __init__(self, text: np.ndarray, threads: int) -> None:
        functional.set_num_threads(threads)
        self._text = text
        self._model = make_model()
        self._optimizer = AdamW(self._model, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self._state: Any = None

    def update(self) -> float:
        chunk = self._text[self._optimizer.steps % len(self._text)]
        self._model.zero_grads()
        (loss, self._state), pullback = self._model.loss_vjp(chunk[:-1], chunk[1:], self._state)
        pullback()
        _, scale = clip_scale(self._model.flat.grads, CLIP_NORM)
        self._optimizer.step(grad_scale=scale)
        return loss


class TorchTraining:
    """The same in torch, with its fused AdamW, the fastest of its kinds."""

    name = "torch"

    def __init__(self, text: np.ndarray, threads: int) -> None:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)
        self._torch = torch
        self._text = torch.from_numpy(text)
        nn = torch.nn
        self._embedding = nn.Embedding(VOCABULARY, CHAR_LM_SHAPE.inputs)
        self._rnn = nn.LSTM(CHAR_LM_SHAPE.inputs, CHAR_LM_SHAPE.hidden)
        self._head = nn.Linear(CHAR_LM_SHAPE.hidden, VOCABULARY)
        self._model = nn.ModuleDict(
            {"embedding": self._embedding, "rnn": self._rnn, "head": self._head}
        )
        ours = make_model().parameters
        self._model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in ours.items()})
        self._parameters = list(self._model.parameters())
        groups = [
            {"params": [p for p in self._parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in self._parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
        self._state: Any = None
        self._updates = 0

    def update(self) -> float:
        chunk = self._text[self._updates % len(self._text)]
        self._updates += 1
        self._optimizer.zero_grad(set_to_none=True)
        y, state = self._rnn(self._embedding(chunk[:-1]), self._state)
        self._state = tuple(part.detach() for part in state)
        logits = self._head(y).view(-1, VOCABULARY)
        loss = self._torch.nn.functional.cross_entropy(logits, chunk[1:].reshape(-1))
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        self._optimizer.step()
        return float(loss.detach())


CONTENDERS = (OursTraining, TorchTraining)


def check(losses: dict[str, list[float]]) -> None:
    """Compares the losses of the first updates.

    A loss is a mean of about 4.6 over T*B terms of order 1, each from sums of at most 512 products;
    an update may move it by the rounding errors of the gradients, which Adam's quotient enlarges
    where a gradient is near zero. 1e-4 lies far below what any other computation would give.
    """
    first, *others = losses.values()
    for other in others:
        worst = max(abs(a - b) for a, b in zip(first, other, strict=True))
        if not worst <= 1e-4:
            raise ArithmeticError(f"[bench] the losses differ by {worst:.2g}: {losses}")


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def bench_training(benchmark: Any, contender: Any, threads: int) -> None:
    try:
        training = contender(make_text(), threads)
    except ImportError as error:
        pytest.skip(str(error))
    first = [training.update() for _ in range(CHECKED_UPDATES)]
    if contender is TorchTraining:
        ours = OursTraining(make_text(), threads)
        check({"torch": first, "unrolled": [ours.update() for _ in range(CHECKED_UPDATES)]})
    assert all(np.isfinite(first))
    benchmark.group = f"character language model, one update of {CHARACTERS} characters"
    bench.wait_until_quiet()
    benchmark(training.update)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=functional.get_num_threads())
    parser.add_argument("--seconds", type=float, default=30.0, help="for all measurements together")
    parser.add_argument("--markdown", help="the file whose section to write")
    options = parser.parse_args()
    machine, foreign = bench.describe_machine(), bench.ForeignLoad()
    text = make_text()
    contenders: dict[str, Any] = {}
    for contender in CONTENDERS:
        try:
            contenders[contender.name] = contender(text, options.threads)
        except ImportError as error:
            print(f"{contender.name} left out: {error}", file=sys.stderr)
    check({k: [c.update() for _ in range(CHECKED_UPDATES)] for k, c in contenders.items()})
    timings = bench.measure(
        {name: c.update for name, c in contenders.items()}, seconds=options.seconds
    )
    lines = [
        f"### Training a character language model, {options.threads} threads",
        "",
        "| | |",
        "|:--|:--|",
        f"| command | python benchmarks/bench_language_model.py --threads {options.threads} |",
        f"| date | {time.strftime('%Y-%m-%d %H:%M')} |",
        f"| used by others | {bench.foreign_load(foreign.cpus())} |",
        *(f"| {name} | {value} |" for name, value in machine.lines()),
        "",
        "Embedding 64, LSTM 256, batch 16, 64 steps, AdamW, clipping; medians of turns in one run.",
        "",
        "| | ms an update | characters/s | of torch's |",
        "|:--|--:|--:|--:|",
    ]
    for name, timing in timings.items():
        ratio = timings["torch"].median / timing.median if "torch" in timings else float("nan")
        lines.append(
            f"| {name} | {timing.median * 1e3:.2f} +-{100 * timing.spread:.0f}% "
            f"| {CHARACTERS / timing.median:,.0f} | {ratio:.2f} |"
        )
    report = "\n".join(lines)
    print(report)
    if options.markdown:
        name = f"language model, {options.threads} threads"
        bench.write_section(options.markdown, name, report)


if __name__ == "__main__":
    main()
