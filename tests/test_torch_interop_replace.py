"""`replace` makes a model of torch's ours in place, and it trains as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close
from torch_layers import I, fast, kernels_alone, tensors, torch

pytestmark = pytest.mark.usefixtures("one_thread")

T, B, H, V = 12, 6, 16, 11


class Model(torch.nn.Module):
    """Every kind of layer, one twice under two names, one tied to another's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.LSTM(I, H, 2, dropout=0.2, batch_first=True)
        self.parts = torch.nn.ModuleDict({"gru": torch.nn.GRU(H, H), "rnn": torch.nn.RNN(H, H)})
        self.again = self.parts["gru"]
        self.tied = torch.nn.GRU(H, H)
        self.tied.weight_hh_l0 = self.again.weight_hh_l0
        self.cells = torch.nn.ModuleList(
            [torch.nn.LSTMCell(H, H), torch.nn.GRUCell(H, H), torch.nn.RNNCell(H, H)]
        )
        self.head = torch.nn.Linear(H, V)

    def forward(self, x: Any) -> Any:
        x = self.first(x)[0].transpose(0, 1)
        x = self.again(self.parts["gru"](x)[0])[0]
        x = self.tied(self.parts["rnn"](x)[0])[0]
        lstm, gru, rnn = self.cells
        return self.head(rnn(gru(lstm(x[-1])[0])))


def test_replace_and_restore(rng: np.random.Generator) -> None:
    torch.manual_seed(1)
    model = Model().double()
    model.eval()
    (x,) = tensors(rng, np.float64, (B, T, I))
    wanted = model(x)
    names, modules = [*model.state_dict()], [*model.modules()]
    parameters = [*model.parameters()]
    seen: list[str] = []
    model.first.register_forward_hook(lambda module, *_: seen.append(type(module).__module__))

    assert fast.replace(model) == 7
    assert fast.replace(model) == 0
    assert [*model.state_dict()] == names
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model.tied.weight_hh_l0 is model.again.weight_hh_l0
    assert model.again is model.parts["gru"]
    assert type(model.first) is fast.LSTM
    assert not model.first.training
    with kernels_alone():
        got = model(x)
    # Eight layers, each a sum of 2*H products and four gates, over T steps.
    assert_close(got.detach(), wanted.detach(), K=2 * 8 * T * (2 * H + 4), kind="forward")

    assert fast.restore(model) == 7
    assert type(model.first) is torch.nn.LSTM
    assert torch.equal(model(x), wanted)
    assert [name.partition(".")[0] for name in seen] == ["unrolled", "torch"]


def test_replace_of_a_layer_itself_and_of_classes_of_others() -> None:
    class Own(torch.nn.LSTM):
        """Somebody's layer, with a forward that may do anything."""

    own, layer = Own(I, H), torch.nn.LSTM(I, H)
    assert fast.replace(own) == 0
    assert type(own) is Own
    assert fast.replace(layer) == 1
    assert fast.replace(torch.nn.Linear(I, H)) == 0


def test_replace_of_a_parametrized_layer(rng: np.random.Generator) -> None:
    (x,) = tensors(rng, np.float64, (T, B, I))
    layer = torch.nn.LSTM(I, H, dtype=torch.float64)
    other = torch.nn.LSTM(I, H, dtype=torch.float64)
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    wanted = layer(x)[0]
    assert fast.replace(layer) == 1
    assert isinstance(layer, fast.LSTM)
    assert not isinstance(other, fast.LSTM)
    with kernels_alone():
        got = layer(x)[0]
    assert_close(got.detach(), wanted.detach(), K=2 * T * (I + H + 4), kind="forward")
    assert fast.restore(layer) == 1
    assert torch.equal(layer(x)[0], wanted)


class Tagger(torch.nn.Module):
    """Embedding, two recurrent layers with dropout, softmax: as it is usually written."""

    def __init__(self, name: str, dtype: Any) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(V, I, dtype=dtype)
        self.rnn = getattr(torch.nn, name)(I, H, 2, dropout=0.1, dtype=dtype)
        self.head = torch.nn.Linear(H, V, dtype=dtype)

    def forward(self, tokens: Any, lengths: Any) -> Any:
        x = self.embedding(tokens)
        if lengths is not None:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y = self.rnn(x)[0]
        if lengths is not None:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(tokens))
        return self.head(y)


@pytest.mark.parametrize("ragged", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_training_goes_as_in_torch(
    name: str, ragged: bool, dtype: Any, rng: np.random.Generator
) -> None:
    """Fifty updates of a model of two layers have torch's losses, one by one.

    Each update adds the roundings of a gradient to the parameters, by the learning rate; they reach
    the losses of all updates after it. So K is that of a gradient times the updates so far.
    """
    updates, rate = 50, 0.5
    tokens = torch.from_numpy(rng.integers(0, V, (updates, T, B)))
    lengths = torch.from_numpy(rng.integers(1, T + 1, (updates, B)))
    losses = []
    for replaced in (False, True):
        torch.manual_seed(5)
        model = Tagger(name, getattr(torch, np.dtype(dtype).name))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        assert fast.replace(model) == 1 if replaced else True
        curve = []
        for batch, length in zip(tokens, lengths, strict=True):
            optimizer.zero_grad()
            if replaced:
                with kernels_alone():
                    logits = model(batch, length if ragged else None)
            else:
                logits = model(batch, length if ragged else None)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.flatten())
            loss.backward()
            optimizer.step()
            curve.append(loss.detach().numpy())
        losses.append(curve)
    gates = model.rnn.weight_hh_l0.shape[0] // H
    gradient = 2 * T * (I + (gates + 1) * H + B) + H + V
    for update, (wanted, got) in enumerate(zip(*losses, strict=True), start=1):
        assert_close(got, wanted, K=2 * update * gradient, kind="peer", what=f"update {update}")
    assert losses[0][-1] < losses[0][0]
