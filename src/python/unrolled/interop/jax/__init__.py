"""Recurrent layers as functions on JAX's arrays, on the kernels of this package.

    from unrolled.interop import jax as fast

    @jax.jit
    def loss(params, x):                             # params: {"weight_ih_l0": ..., ...}
        y, (h, c) = fast.lstm(params, x)             # x (T, B, I)
        return jnp.mean(y**2)

    grads = jax.grad(loss)(params, x)

`lstm`, `gru` and `rnn` are torch's layers; `recurrent(cell, params, x)` is any other cell, also one
of your own (`unrolled.cell`).

Each scan is a custom call of XLA on the CPU, which reads and writes XLA's own buffers: nothing goes
through Python while a program runs, and no arrays are copied. What a forward pass leaves for its
gradients are arrays of the program like others, so that `jit`, `grad`, `lax.scan`, `checkpoint` and
repeated or reordered execution see pure functions.

**Mapping.** Where `vmap` maps x, states, lengths or resets, its axis becomes part of the batch: one
scan. Where it maps weights, and where each mapped call gets gradients of its own (`vmap` of `grad`,
`jacrev`), calls run one after the other; map first and differentiate then if the sum is wanted.

**Packing.** A program packs weights once for each use of them; inside of a `lax.scan` over the same
weights, once before it.

**Limits.** CPU devices, reverse-mode differentiation, once: the gradient has no gradient. A
compiled program is for one instruction set. Threads are those of `unrolled.set_num_threads`.

Needs the extra [jax].
"""

from ._layers import gru as gru
from ._layers import lstm as lstm
from ._layers import recurrent as recurrent
from ._layers import rnn as rnn
