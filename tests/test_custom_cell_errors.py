"""Equations that cannot become a cell are refused where they are written, and the text says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import unrolled
from unrolled import functional
from unrolled.cells import absolute, exp, sigmoid, sqrt, tanh

sympy = pytest.importorskip("sympy", reason='pip install "unrolled[cells]"')


def plain(x: Any, u: Any, s: Any) -> dict[str, Any]:
    return {"h": tanh(x.a + u.a)}


REFUSED: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "unknown function": (
        lambda x, u, s: {"h": sympy.sin(x.a)},
        {},
        r"functions out of unrolled.cells .*, got sin\(x_a\)",
    ),
    "unknown power": (lambda x, u, s: {"h": tanh(x.a) ** s.h}, {}, "integer powers"),
    "large power": (lambda x, u, s: {"h": tanh(x.a) ** 17}, {}, "integer powers up to 16"),
    "no number": (lambda x, u, s: {"h": x.a * sqrt(-1)}, {}, "got nan"),
    "infinity": (lambda x, u, s: {"h": x.a * sympy.oo}, {}, "got oo"),
    "foreign symbol": (
        lambda x, u, s: {"h": x.a * sympy.Symbol("q")},
        {},
        "symbols of its arguments alone, got q",
    ),
    "no expression": (lambda x, u, s: {"h": "x +"}, {}, "expected an expression for h"),
    "condition": (
        lambda x, u, s: {"h": x.a if x.a > 0 else u.a},
        {},
        "without a condition; choose by where_positive",
    ),
    "state not returned": (
        lambda x, u, s: {"h": tanh(x.a + s.c)},
        {"states": ("h", "c")},
        "a dict of the new states h, c, got h",
    ),
    "no dict": (lambda x, u, s: tanh(x.a), {}, "a dict of the new states h, got tanh"),
    "unused gate": (plain, {"gates": ("a", "b")}, "gate b to be used"),
    "other arguments": (
        lambda x, u: {"h": x.a + u.a},
        {},
        r"a function of \(x, u, s\), got one of \(x, u\)",
    ),
    "no parameters": (plain, {"units": ("w",)}, r"a function of \(x, u, s, p\)"),
    "unused parameter": (
        lambda x, u, s, p: plain(x, u, s),
        {"units": ("w",)},
        "parameter w to be used",
    ),
    "growing state": (
        lambda x, u, s: {"h": tanh(x.a + u.a), "c": 2 * s.c + 1},
        {"states": ("h", "c")},
        "its states finite, .* c becomes",
    ),
    "too many states": (plain, {"states": tuple("abcde")}, "expected 1 to 4 states, got 5"),
    "padding": (lambda x, u, s: {"h": sigmoid(x.a + u.a)}, {}, "h becomes 0.5"),
    "padding not finite": (lambda x, u, s: {"h": x.a / s.h}, {}, "h becomes nan"),
    "padding's gradient": (
        lambda x, u, s: {"h": sqrt(absolute(x.a + u.a))},
        {},
        "gradients of a unit of zeros to be finite",
    ),
    "no gate": (plain, {"gates": ()}, "expected 1 to 8 gates, got 0"),
    "twice a gate": (plain, {"gates": ("a", "a")}, "gates of different names"),
    "a bad name": (plain, {"name": "my cell"}, "letters and digits, got 'my cell'"),
    "a keyword": (plain, {"gates": ("if",)}, "letters and digits, got 'if'"),
    "a taken name": (plain, {"name": "lstm"}, "expected a new name, got 'lstm'"),
}


@pytest.mark.parametrize(("function", "options", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(function: Callable[..., Any], options: dict[str, Any], text: str) -> None:
    before = functional.cells()
    with pytest.raises(ValueError, match=text):
        unrolled.cell(**{"gates": ("a",), "name": "refused", **options})(function)
    assert functional.cells() == before


def test_an_unknown_gate_or_state() -> None:
    for function, text in (
        (lambda x, u, s: {"h": x.q}, "a gate out of a, got 'q'"),
        (lambda x, u, s: {"h": s.q + x.a}, "a state out of h, got 'q'"),
    ):
        with pytest.raises(AttributeError, match=text):
            unrolled.cell(gates=("a",), name="refused")(function)


def test_one_string_is_no_list_of_names() -> None:
    with pytest.raises(TypeError, match="gates as a tuple of names"):
        unrolled.cell(gates="a")(plain)


def test_a_layer_of_an_undefined_cell() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*lstm.*, got 'undefined'"):
        unrolled.Recurrent("undefined", 3, 4)


def test_what_is_written_is_what_is_computed() -> None:
    """SymPy would join exp(a) * exp(b); functions of unrolled.cells stay as they are."""
    made = unrolled.cell(gates=("a", "b"), name="joined")(
        lambda x, u, s: {"h": exp(-x.a) * exp(u.b) * s.h + u.a * x.b}
    )
    assert made.header.count("= exp(") == 2


def test_constants_are_computed_at_once() -> None:
    made = unrolled.cell(gates=("a",), name="constants")(
        lambda x, u, s: {"h": (x.a + u.a) * sigmoid(0) * sympy.Rational(1, 4) + sqrt(4) * s.h}
    )
    assert "V(0.125)" in made.header
    assert "V(2" in made.header
    assert "sigmoid(" not in made.header
