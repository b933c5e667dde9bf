"""Cells written as equations, for the tests of `unrolled.cell`: known ones, and one of our own."""

from __future__ import annotations

import unrolled
from unrolled.cells import maximum, relu, sigmoid, softplus, tanh


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


@unrolled.cell(gates=("a", "b"), states=("h", "m"))
def oddity(x, u, s):
    """No published cell: a rectified candidate, a rate by softplus, a decaying maximum.

    Products of the two parts of a gate, a quotient, and a number: what the known cells lack.
    """
    rate = 1 / (1 + softplus(x.a + u.a))
    m = maximum(0.9 * s.m, x.b * u.b)
    h = rate * s.h + (1 - rate) * tanh(x.b) * sigmoid(u.a) + relu(x.a - u.b) * m / (2 + m**2)
    return {"h": tanh(h), "m": m}


TWINS = {"custom_rnn": "rnn_tanh", "custom_gru": "gru", "custom_lstm": "lstm"}
