"""The steps of a decoder with input feeding, forwards and backwards."""

from typing import Any

import numpy as np

from ..layers import AttentionSteps, Linear, Projection, RecurrentSteps
from ..layers._place import functions_of, move, zeros
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
        functions = functions_of(x)
        self._joined = functions.empty((steps, batch, width), x.dtype)
        self._outputs = functions.empty((steps, batch, size), x.dtype)
        self._live = (np.arange(steps)[:, None] < lengths).astype(np.int64)
        fed = zeros((batch, 2 * size), x)
        for t in range(steps):
            fed[:, :size] = x[t]
            hidden, state = self._rnn(fed.copy(), state, self._live[t])
            context = self._attention(t, hidden, self._live[t])
            joined = self._joined[t]
            joined[:, : context.shape[1]] = context
            joined[:, context.shape[1] :] = hidden
            np.tanh(self._map(joined), out=self._outputs[t])
            fed[:, size:] = self._outputs[t]
        outputs: Array = self._outputs
        return outputs

    def pull(self, doutputs: Array) -> tuple[Array, Array, Any]:
        """Returns dx (T, B, E), dmemory (S, B, M) and the gradient of the first state."""
        steps, _, size = doutputs.shape
        slopes = 1.0 - self._outputs * self._outputs
        functions = functions_of(doutputs)
        dlinear = functions.empty(doutputs.shape, doutputs.dtype)
        dx = functions.empty(doutputs.shape, doutputs.dtype)
        dfed = np.zeros_like(doutputs[0])
        live = move(self._live[..., None].astype(doutputs.dtype), self._output.place)
        dstate: Any = None
        for t in range(steps - 1, -1, -1):
            np.add(doutputs[t], dfed, out=dlinear[t])
            dlinear[t] *= slopes[t]
            dlinear[t] *= live[t]
            djoined = self._map.pull(dlinear[t])
            width = djoined.shape[1] - self._rnn.hidden_size
            dhidden = djoined[:, width:] + self._attention.pull(t, djoined[:, :width])
            dinput, dstate = self._rnn.pull(dhidden, dstate)
            dx[t], dfed = dinput[:, :size], dinput[:, size:]
        functions.linear_backward(
            self._joined,
            self._output.parameters["weight"],
            dlinear,
            dweight=self._output.grads["weight"],
            dbias=self._output.grads["bias"],
            needs_dx=False,
        )
        return dx, self._attention.finish(), dstate
