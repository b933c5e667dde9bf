"""A language model in use, one token after the other."""

from collections.abc import Callable
from typing import Any

from ..layers import Stream
from ..layers._place import functions_of
from ..layers._types import Array


class LanguageModelStream:
    """A language model one token at a time, with the state that it keeps.

    ::

        stream = model.stream(batch=1)
        for token in prompt:
            logits = stream.step(np.array([token]))  # (B, V): of the token after this one

    Memory does not grow with the length of the text: a stream holds the packed weights, one state,
    and nothing of the tokens that went through it. Its parameters are a snapshot of the model's at
    its creation. A stream serves one caller; `fork` starts more over the same parameters.

    Shapes: B batch, V vocabulary; tokens (B,) int64, logits (B, V), state as of the model.
    """

    def __init__(self, table: Array, rnn: Stream[Any], head: Callable[[Array], Array]) -> None:
        self._table = table
        self._rnn = rnn
        self._head = head

    def step(self, tokens: Array) -> Array:
        """Reads one token of each of the B texts; returns the logits (B, V) of the next ones."""
        if tokens.shape != (self._rnn.batch,):
            raise ValueError(
                f"[LanguageModel] expected tokens of shape (B,) = ({self._rnn.batch},), "
                f"got {tokens.shape}"
            )
        embedded = functions_of(self._table).embedding(tokens, self._table)
        return self._head(self._rnn(embedded))

    @property
    def state(self) -> Any:
        """A copy of the state; assign one to continue from there, None to begin anew."""
        return self._rnn.state

    @state.setter
    def state(self, state: Any) -> None:
        self._rnn.state = state

    def reset(self) -> None:
        """Sets the state to zero: all texts begin anew."""
        self._rnn.reset()

    def fork(self, batch: int | None = None) -> "LanguageModelStream":
        """Starts another stream at the zero state; both share the parameters."""
        return LanguageModelStream(self._table, self._rnn.fork(batch), self._head)
