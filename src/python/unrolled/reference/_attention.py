"""Attention of queries over a source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._head import log_softmax
from ._types import Array


def attention_vjp(
    queries: npt.ArrayLike,
    keys: npt.ArrayLike,
    values: npt.ArrayLike,
    dcontexts: npt.ArrayLike,
    vector: npt.ArrayLike | None = None,
) -> tuple[Array, Array, tuple[Array, Array, Array, Array | None]]:
    """Contexts and weights of the queries over one source, and the gradients for `dcontexts`.

        score(t, s) = q_t . k_s, or v . tanh(q_t + k_s);  a_t = softmax_s;  c_t = sum_s a_ts value_s

    Shapes: queries (T, K), keys (S, K), values (S, M), dcontexts (T, M), vector (K,) or None.

    Returns:
        contexts (T, M), weights (T, S), (dqueries, dkeys, dvalues, dvector); a source of no places
        gives zeros.
    """
    q, k = np.asarray(queries, np.float64), np.asarray(keys, np.float64)
    values, dc = np.asarray(values, np.float64), np.asarray(dcontexts, np.float64)
    v = None if vector is None else np.asarray(vector, np.float64)
    u = np.tanh(q[:, None] + k[None])  # (T, S, K)
    scores = q @ k.T if v is None else u @ v
    weights = np.exp(log_softmax(scores)) if scores.size else scores
    dweights = dc @ values.T
    dscores = weights * (dweights - (weights * dweights).sum(axis=1, keepdims=True))
    if v is None:
        dq, dk, dv = dscores @ k, dscores.T @ q, None
    else:
        dsums = dscores[..., None] * v * (1.0 - u**2)
        dq, dk = dsums.sum(axis=1), dsums.sum(axis=0)
        dv = np.einsum("ts,tsk->k", dscores, u)
    return weights @ values, weights, (dq, dk, weights.T @ dc, dv)
