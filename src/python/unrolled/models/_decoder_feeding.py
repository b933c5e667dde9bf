"""The steps of a decoder with input feeding, forwards and backwards."""

from typing import Any

import numpy as np

from .. import functional
from ..layers import AttentionSteps, Linear, Projection, RecurrentSteps
from ..layers._types import Array


class FedPass:
    """One teacher-forced pass, in which every step reads the output o_{t-1} of the one before.

    What has to go step by step does, with weights packed once; gradients of the memory, of the
    attention's and of the output's matrices are summed over all steps at the end.

    Shapes: T steps, B batch, E embedding and output, H hidden, M memory.
    """

    def __init__(self, rnn: RecurrentSteps, attention: AttentionSteps, output: Linear) -> None:
        self._rnn, self._attention, self._output = rnn, attention, output
        self._map = Projection(output.parameters["weight"], output.parameters["bias"])

    def run(self, x: Array, lengths: Array, state: Any) -> Array:
        """Returns all outputs (T, B, E) of the embedded inputs x (T, B, E)."""
        steps, batch, size = x.shape
        width = self._output.input_size
        self._joined = functional.empty((steps, batch, width), x.dtype)
        self._outputs = functional.empty((steps, batch, size), x.dtype)
        self._live = (np.arange(steps)[:, None] < lengths).astype(np.int64)
        fed = np.zeros((batch, 2 * size), x.dtype)
        for t in range(steps):
            fed[:, :size] = x[t]
            hidden, state = self._rnn(fed.copy(), state, self._live[t])
            context = self._attention(t, hidden, self._live[t])
            joined = self._joined[t]
            joined[:, : context.shape[1]] = context
            joined[:, context.shape[1] :] = hidden
            np.tanh(self._map(joined), out=self._outputs[t])
            fed[:, size:] = self._outputs[t]
        return self._outputs

    def pull(self, doutputs: Array) -> tuple[Array, Array, Any]:
        """Returns dx (T, B, E), dmemory (S, B, M) and the gradient of the first state."""
        steps, batch, size = doutputs.shape
        slopes = 1.0 - self._outputs * self._outputs
        dlinear = functional.empty(doutputs.shape, doutputs.dtype)
        dx = functional.empty(doutputs.shape, doutputs.dtype)
        dfed = np.zeros((batch, size), doutputs.dtype)
        dstate: Any = None
        for t in range(steps - 1, -1, -1):
            np.add(doutputs[t], dfed, out=dlinear[t])
            dlinear[t] *= slopes[t]
            dlinear[t] *= self._live[t, :, None]
            djoined = self._map.pull(dlinear[t])
            width = djoined.shape[1] - self._rnn.hidden_size
            dhidden = djoined[:, width:] + self._attention.pull(t, djoined[:, :width])
            dinput, dstate = self._rnn.pull(dhidden, dstate)
            dx[t], dfed = dinput[:, :size], dinput[:, size:]
        functional.linear_backward(
            self._joined,
            self._output.parameters["weight"],
            dlinear,
            dweight=self._output.grads["weight"],
            dbias=self._output.grads["bias"],
            needs_dx=False,
        )
        return dx, self._attention.finish(), dstate
