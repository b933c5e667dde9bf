"""Cells written as equations, for the tests of `unrolled.cell`: known ones, and one of our own."""

from __future__ import annotations

import unrolled
from unrolled.cells import (
    absolute,
    exp,
    maximum,
    minimum,
    relu,
    sigmoid,
    softplus,
    tanh,
    where_positive,
)


@unrolled.cell(gates=("h",), states=("h",))
def custom_rnn(x, u, s):
    return {"h": tanh(x.h + u.h)}


@unrolled.cell(gates=("r", "z", "n"), states=("h",))
def custom_gru(x, u, s):
    r = sigmoid(x.r + u.r)
    z = sigmoid(x.z + u.z)
    n = tanh(x.n + r * u.n)
    return {"h": (1 - z) * n + z * s.h}


@unrolled.cell(gates=("i", "f", "g", "o"), states=("h", "c"))
def custom_lstm(x, u, s):
    i, f, o = sigmoid(x.i + u.i), sigmoid(x.f + u.f), sigmoid(x.o + u.o)
    c = f * s.c + i * tanh(x.g + u.g)
    return {"h": o * tanh(c), "c": c}


@unrolled.cell(gates=("i", "f", "g", "o"), states=("h", "c"), units=("i", "f", "o"))
def custom_peephole(x, u, s, p):
    i = sigmoid(x.i + u.i + p.i * s.c)
    f = sigmoid(x.f + u.f + p.f * s.c)
    c = f * s.c + i * tanh(x.g + u.g)
    o = sigmoid(x.o + u.o + p.o * c)
    return {"h": o * tanh(c), "c": c}


@unrolled.cell(gates=("z", "n"), states=("h",))
def custom_min_gru(x, u, s):
    z = sigmoid(x.z)
    return {"h": (1 - z) * s.h + z * x.n}


@unrolled.cell(gates=("i", "f", "z", "o"), states=("h", "c", "n", "m"))
def custom_slstm(x, u, s):
    kept = s.m - softplus(-(x.f + u.f))
    m = maximum(kept, x.i + u.i)
    i, f = exp(x.i + u.i - m), exp(kept - m)
    c = f * s.c + i * tanh(x.z + u.z)
    n = f * s.n + i
    return {"h": sigmoid(x.o + u.o) * c / n, "c": c, "n": n, "m": m}


@unrolled.cell(gates=("a",))
def linear(x, u, s):
    """Nothing of it has to be saved."""
    return {"h": 0.5 * s.h - (x.a + u.a) / 4}


@unrolled.cell(gates=("a",))
def threshold(x, u, s):
    """No gradient passes."""
    return {"h": where_positive(x.a + u.a, 1, 0)}


@unrolled.cell(gates=("a", "b"), states=("h", "m", "k"), units=("w", "v"))
def oddity(x, u, s, p):
    """No published cell, but what the known ones lack.

    A rate by softplus, a decaying maximum, a rectified gate, products of the two parts of a gate,
    a quotient, a number, parameters of the units.
    """
    rate = 1 / (1 + softplus(x.a + u.a))
    m = maximum(0.9 * s.m, tanh(x.b) * u.b)
    k = minimum(s.k, p.w) + p.v * absolute(x.a)
    h = rate * s.h + (1 - rate) * tanh(x.b + k) * sigmoid(u.a) + relu(x.a - u.b) * m / (2 + m**2)
    return {"h": tanh(h), "m": m, "k": tanh(k)}


TWINS = {
    "custom_rnn": "rnn_tanh",
    "custom_gru": "gru",
    "custom_lstm": "lstm",
    "custom_peephole": "lstm_peephole",
    "custom_min_gru": "min_gru",
    "custom_slstm": "slstm",
}
"""The built-in cell that each of the known ones is."""
