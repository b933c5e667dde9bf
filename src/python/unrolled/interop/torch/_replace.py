"""Whole models of torch's."""

from typing import Any

from ..._extras import import_extra
from ._cells import GRUCell, LSTMCell, RNNCell
from ._layers import GRU, LSTM, RNN
from ._weights import packed_weights

torch: Any = import_extra("torch", "torch")

_OURS = {
    torch.nn.LSTM: LSTM,
    torch.nn.GRU: GRU,
    torch.nn.RNN: RNN,
    torch.nn.LSTMCell: LSTMCell,
    torch.nn.GRUCell: GRUCell,
    torch.nn.RNNCell: RNNCell,
}


def replace(model: Any) -> int:
    """Turns every recurrent layer and cell of torch's in a model into ours, in place.

    A module stays the same object: parameters (so that optimizers go on), names, hooks, shared and
    tied modules, parametrizations and the mode are left as they are. Subclasses that others made of
    torch's layers are left alone.

    Args:
        model: a torch.nn.Module, itself a layer or one that holds some.

    Returns:
        How many modules were replaced; a module in several places counts once.
    """
    return _swap(model, _OURS)


def restore(model: Any) -> int:
    """Undoes `replace`: turns every layer and cell of ours into torch's. Returns how many."""
    return _swap(model, {ours: theirs for theirs, ours in _OURS.items()})


def _swap(model: Any, classes: dict[Any, Any]) -> int:
    count = 0
    for module in model.modules():
        kind = type(module)
        if kind in classes:
            module.__class__ = classes[kind]
        elif torch.nn.utils.parametrize.is_parametrized(module) and kind.__bases__[0] in classes:
            # A class that torch made for this module alone.
            kind.__bases__ = (classes[kind.__bases__[0]],)
        else:
            continue
        packed_weights(module).clear()
        count += 1
    return count
