"""With torch's parameters copied in, layers and the language model compute what torch computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stacks import as_state, as_tuple, forward_roundings, gradient_roundings
from tolerances import assert_close
from unrolled.layers import GRU, LSTM, RNN, Recurrent
from unrolled.models import LanguageModel

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "unrolled[peers]"')

T, B, I, H, V, E = 6, 4, 5, 7, 19, 6  # noqa: E741

MAKERS: dict[str, Any] = {
    "lstm": (LSTM, torch.nn.LSTM, {}),
    "gru": (GRU, torch.nn.GRU, {}),
    "rnn_tanh": (RNN, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm_projected": (LSTM, torch.nn.LSTM, {"proj_size": 3}),
}
STACKS = {
    "one": {},
    "two-nobias": {"num_layers": 2, "bias": False},
    "both-ways": {"bidirectional": True},
    "three-both-ways-batch-first": {"num_layers": 3, "bidirectional": True, "batch_first": True},
}


@pytest.fixture(params=[name for name in MAKERS if name != "lstm_projected"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def make_pair(name: str, dtype: Any, **options: Any) -> tuple[Recurrent[Any], Any]:
    """Our layer and torch's, with torch's parameters in both."""
    ours, theirs, extra = MAKERS[name]
    torch.manual_seed(7)
    module = theirs(I, H, **options, **extra, dtype=getattr(torch, np.dtype(dtype).name))
    layer = ours(I, H, **options, **extra, dtype=dtype, init="zeros")
    layer.load_parameters(module.state_dict())
    return layer, module


def tensors(state: Any) -> Any:
    return as_state(tuple(torch.tensor(s, requires_grad=True) for s in as_tuple(state)))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_layer_equals_torch(
    name: str, options: dict, ragged: bool, dtype: Any, rng: np.random.Generator
) -> None:
    layer, module = make_pair(name, dtype, **options)
    first = layer.batch_first
    x = rng.standard_normal((B, T, I) if first else (T, B, I)).astype(dtype)
    dy = rng.standard_normal((*x.shape[:2], layer.output_size)).astype(dtype)
    state, dstate = (
        as_state(tuple(rng.standard_normal(shape).astype(dtype) for shape in layer._shapes(B)))
        for _ in range(2)
    )
    lengths = np.array([3, T, 1, 4]) if ragged else None

    x_t, state_t = torch.tensor(x, requires_grad=True), tensors(state)
    if lengths is None:
        y_t, final_t = module(x_t, state_t)
    else:
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(
            x_t, torch.tensor(lengths), batch_first=first, enforce_sorted=False
        )
        y_t, final_t = module(packed, state_t)
        y_t, _ = rnn.pad_packed_sequence(y_t, batch_first=first, total_length=T)
    value = (y_t * torch.tensor(dy)).sum()
    for f, d in zip(as_tuple(final_t), as_tuple(dstate), strict=True):
        value = value + (f * torch.tensor(d)).sum()
    value.backward()

    (y, final), pullback = layer.vjp(x, state, lengths=lengths)
    dx, dinitial = pullback(dy, dstate)
    # The other library rounds too, so twice the roundings.
    forward, backward = 2 * forward_roundings(layer, T), 2 * gradient_roundings(layer, T, B)
    assert_close(y, y_t.detach(), K=forward, kind="forward", what="y")
    assert_close(dx, x_t.grad, K=backward, kind="gradient", what="dx")
    for got, want in zip(as_tuple(final), as_tuple(final_t), strict=True):
        assert_close(got, want.detach(), K=forward, kind="forward", what="state")
    for got, want in zip(as_tuple(dinitial), as_tuple(state_t), strict=True):
        assert_close(got, want.grad, K=backward, kind="gradient", what="dstate")
    for key, parameter in module.named_parameters():
        assert_close(layer.grads[key], parameter.grad, K=backward, kind="gradient", what=key)


class CharModel(torch.nn.Module):
    """A character model as it is usually written in torch."""

    def __init__(self, cell: str, layers: int, dtype: Any) -> None:
        super().__init__()
        _, recurrent, extra = MAKERS[cell]
        self.embedding = torch.nn.Embedding(V, E, dtype=dtype)
        self.rnn = recurrent(E, H, layers, **extra, dtype=dtype)
        self.head = torch.nn.Linear(H, V, dtype=dtype)

    def loss(self, tokens: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        hidden, state = self.rnn(self.embedding(tokens), state)
        logits = self.head(hidden).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=-1)
        return loss, as_state(tuple(s.detach() for s in as_tuple(state)))


@pytest.mark.parametrize("layers", [1, 2])
def test_char_model_equals_torch(
    name: str, layers: int, dtype: Any, rng: np.random.Generator
) -> None:
    """The same loss and the same gradients over three chunks of text with the state carried on."""
    torch.manual_seed(7)
    module = CharModel(name, layers, getattr(torch, np.dtype(dtype).name))
    model = LanguageModel(
        V,
        embedding_size=E,
        hidden_size=H,
        num_layers=layers,
        cell=name,
        dtype=dtype,
        init="zeros",
    )
    model.load_parameters(module.state_dict())

    forward = 2 * (forward_roundings(model.rnn, T) + H + V)
    backward = 2 * (gradient_roundings(model.rnn, T, B) + H + V)
    state, state_t = None, None
    for chunk in range(1, 4):
        tokens, targets = rng.integers(0, V, (T, B)), rng.integers(-1, V, (T, B))
        loss_t, state_t = module.loss(torch.tensor(tokens), torch.tensor(targets), state_t)
        loss_t.backward()  # adds to the gradients, as our pullback does
        (loss, state), pullback = model.loss_vjp(tokens, targets, state)
        pullback()
        assert_close(
            loss, loss_t.detach(), K=chunk * forward, kind="head", dtype=dtype, what="loss"
        )
        for got, want in zip(as_tuple(state), as_tuple(state_t), strict=True):
            assert_close(got, want, K=chunk * forward, kind="forward", what="state")
        for key, parameter in module.named_parameters():
            grad = model.grads[key]
            assert_close(grad, parameter.grad, K=chunk * backward, kind="gradient", what=key)
