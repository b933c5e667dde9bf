"""Writing text with a language model, one token after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import functional, reference
from ..models import LanguageModel
from ._contender import Contender
from ._problem import OURS, Outputs, Problem, Values
from ._roofline import ITEM, Read, Work, layer_work
from ._shapes import Shape
from ._torch import load_torch

_LAYER_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_FIRST = 0  # the token that every text begins after


@dataclass(frozen=True)
class TextProblem(Problem):
    """One text of `tokens` tokens by a stack of LSTMs; a unit is one token.

    Temperature 1 where time is measured; for the comparison the most probable token each time, so
    that everybody with the same parameters writes the same.
    """

    vocabulary: int = 100
    embedding: int = 64
    hidden: int = 512
    layers: int = 2
    tokens: int = 64

    def __str__(self) -> str:
        return f"{self.layers}x{self.hidden} E{self.embedding} V{self.vocabulary}"

    @cached_property
    def model(self) -> LanguageModel:
        return LanguageModel(
            self.vocabulary,
            embedding_size=self.embedding,
            hidden_size=self.hidden,
            num_layers=self.layers,
            rng=np.random.default_rng(0),
        )

    @property
    def shape(self) -> Shape:
        """Of the first layer, in one step."""
        return Shape(1, 1, self.embedding, self.hidden)

    @property
    def units(self) -> int:
        return self.tokens

    @property
    def work(self) -> Work:
        gates = len(functional.cell_info("lstm").gates)
        work = layer_work(gates, self.shape)
        for _ in range(self.layers - 1):
            work += layer_work(gates, Shape(1, 1, self.hidden, self.hidden))
        head = self.vocabulary * self.hidden
        return work + Work(1, 2.0 * head, (Read(head * ITEM, head * ITEM),))

    def truth(self, *, alone: bool) -> Outputs:
        parameters = self.model.parameters
        layers = [
            [parameters[f"rnn.{name}_l{k}"] for name in _LAYER_PARAMETERS]
            for k in range(self.layers)
        ]
        states: list[Any] = [None] * self.layers
        token, text = _FIRST, []
        for _ in range(self.tokens):
            h: Values = parameters["embedding.weight"][[[token]]]
            for k, weights in enumerate(layers):
                h, states[k] = reference.scan("lstm", h, states[k], *weights)
            logits = h[0, 0] @ parameters["head.weight"].T + parameters["head.bias"]
            token = int(logits.argmax())
            text.append(token)
        return {"text": np.array(text)}

    def error(self, key: str, actual: Values, expected: Values) -> float:
        return 0.0 if np.array_equal(actual, expected) else np.inf


class OursText(Contender[TextProblem]):
    """A stream of `LanguageModel`, and `functional.sample`."""

    name = OURS

    def __init__(self, problem: TextProblem, threads: int) -> None:
        functional.set_num_threads(threads)
        self._stream = problem.model.stream()
        self._tokens = problem.tokens
        self._rng = np.random.default_rng(0)

    def run(self) -> list[int]:
        return self._write(temperature=1.0)

    def outputs(self) -> Outputs:
        self._stream.reset()
        return {"text": np.array(self._write(temperature=0.0))}

    def _write(self, *, temperature: float) -> list[int]:
        token, text = np.array([_FIRST]), []
        for _ in range(self._tokens):
            logits = self._stream.step(token)
            token = functional.sample(logits, self._rng.random(1), temperature=temperature)
            text.append(int(token[0]))
        return text


class TorchText(Contender[TextProblem]):
    """nn.Embedding, nn.LSTM and nn.Linear in a loop, softmax and multinomial, inference_mode."""

    name = "torch"

    def __init__(self, problem: TextProblem, threads: int) -> None:
        self._torch: Any = load_torch(threads)
        nn = self._torch.nn
        self._embedding = nn.Embedding(problem.vocabulary, problem.embedding)
        self._rnn = nn.LSTM(problem.embedding, problem.hidden, problem.layers)
        self._head = nn.Linear(problem.hidden, problem.vocabulary)
        model = nn.ModuleDict({"embedding": self._embedding, "rnn": self._rnn, "head": self._head})
        parameters = problem.model.parameters.items()
        model.load_state_dict({k: self._torch.from_numpy(v.copy()) for k, v in parameters})
        self._tokens = problem.tokens
        self._state: Any = None

    def run(self) -> list[int]:
        return self._write(greedy=False)

    def outputs(self) -> Outputs:
        self._state = None
        return {"text": np.array(self._write(greedy=True))}

    def _write(self, *, greedy: bool) -> list[int]:
        torch, state, text = self._torch, self._state, []
        with torch.inference_mode():
            token = torch.tensor([[_FIRST]])
            for _ in range(self._tokens):
                y, state = self._rnn(self._embedding(token), state)
                logits = self._head(y[0])
                if greedy:
                    token = logits.argmax(-1, keepdim=True)
                else:
                    token = torch.multinomial(torch.softmax(logits, -1), 1)
                text.append(int(token))
        self._state = state
        return text
