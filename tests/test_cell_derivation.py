"""The code that is derived of a cell's equations computes them, and the transpose of their slopes.

Without a compiler: the assignments that the C++ consists of are run in NumPy, in float64.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import unrolled
from unrolled import functional, reference

pytest.importorskip("sympy", reason='pip install "unrolled[cells]"')

import custom_cells
from custom_cells import TWINS
from unrolled.cells import (
    exp,
    maximum,
    minimum,
    sigmoid,
    softplus,
    tanh,
    where_positive,
)
from unrolled.cells._expressions import FUNCTIONS

CELLS = (*TWINS, "linear", "threshold", "oddity")
SIZE = 64
EPS = float(np.finfo(np.float64).eps)


class Run:
    """A function of the header, run on arrays."""

    def __init__(self, header: str, function: str, **arrays: list[np.ndarray]) -> None:
        body = header.split(f"void {function}(")[1].split(") {\n")[1].split("  }\n")[0]
        code = re.sub(r"const V (\w+) =", r"\1 =", body).replace(";", "").replace("    ", "")
        names = {f.__name__: f.compute for f in FUNCTIONS}
        names.update(V=np.float64, max=np.maximum, min=np.minimum)
        self.arrays = {name: list(values) for name, values in arrays.items()}
        exec(code, {**names, **self.arrays})  # our own text, of the test's own cells

    def __getitem__(self, name: str) -> list[np.ndarray]:
        return self.arrays[name]


def draw(rng: np.random.Generator, info: functional.CellInfo) -> dict[str, list[np.ndarray]]:
    def arrays(count: int) -> list[np.ndarray]:
        return [rng.standard_normal(SIZE) for _ in range(count)]

    state = arrays(len(info.states))
    if "n" in info.states:  # a sum of exponentials, which divides
        state[2] = np.abs(state[2]) + 0.5
    return {
        "x": arrays(len(info.gates)),
        "u": arrays(len(info.gates)) if info.recurrent else [np.zeros(SIZE)] * len(info.gates),
        "p": arrays(len(info.units)),
        "state": state,
    }


def twin_step(name: str, given: dict[str, list[np.ndarray]]) -> tuple:
    """The reference's step, with each element as a row of one unit."""
    columns = {key: [a[:, None] for a in arrays] for key, arrays in given.items()}
    a, r = (np.concatenate(columns[key], axis=1) for key in ("x", "u"))
    return reference.CELLS[name].step(a, r, tuple(columns["p"]), tuple(columns["state"]))


def run_both(name: str, rng: np.random.Generator) -> tuple:
    made = getattr(custom_cells, name)
    given = draw(rng, made)
    empty = [np.zeros(SIZE)] * 16
    ahead = Run(made.header, "forward", **given, next=empty, saved=empty)
    d = [rng.standard_normal(SIZE) for _ in made.states]
    back = Run(
        made.header,
        "backward",
        saved=ahead["saved"],
        p=given["p"],
        state=given["state"],
        d=d,
        dx=empty,
        du=empty,
        dp=empty,
    )
    return made, given, ahead, d, back


@pytest.mark.parametrize("name", CELLS)
def test_the_code_computes_the_twin(name: str, rng: np.random.Generator) -> None:
    """A few roundings of values of order one: at most 64 of them in the longest of these cells."""
    made, given, ahead, d, back = run_both(name, rng)
    after, saved = twin_step(name, given)
    units = tuple(p[:, None] for p in given["p"])
    gradients = reference.CELLS[name].step_backward(saved, units, tuple(a[:, None] for a in d))
    da, dr, dp, before = gradients
    split = "kSplitGradient = true" in made.header
    pairs = [*zip(ahead["next"], after, strict=False), *zip(back["d"], before, strict=True)]
    pairs += [*zip(back["dx"], da.T, strict=False), *zip(back["dp"], dp, strict=False)]
    pairs += [*zip(back["du"] if split else back["dx"], dr.T, strict=False)] * made.recurrent
    for got, expected in pairs:
        scale = 1 + np.abs(expected).max()
        np.testing.assert_allclose(got, expected.reshape(-1), rtol=0, atol=64 * EPS * scale)


@pytest.mark.parametrize("name", TWINS)
def test_the_known_cells_are_the_built_in_ones(name: str, rng: np.random.Generator) -> None:
    made, built_in = reference.CELLS[name], reference.CELLS[TWINS[name]]
    kinds = [(c.gates, c.states, c.units, c.recurrent) for c in (made, built_in)]
    assert kinds[0] == kinds[1]
    given = draw(rng, functional.cell_info(name))
    units = tuple(p[:, None] for p in given["p"])
    d = tuple(rng.standard_normal((SIZE, 1)) for _ in made.states)
    results = []
    for cell in (name, TWINS[name]):
        after, saved = twin_step(cell, given)
        da, dr, dp, before = reference.CELLS[cell].step_backward(saved, units, d)
        results.append([*after, da, *([dr] if made.recurrent else []), *dp, *before])
    for got, expected in zip(*results, strict=True):
        scale = 1 + np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=64 * EPS * scale)


SAVED = {
    "custom_rnn": 1,
    "custom_gru": 4,
    "custom_lstm": 4,
    "custom_peephole": 4,
    "custom_min_gru": 2,
    "custom_slstm": 5,
}


@pytest.mark.parametrize("name", TWINS)
def test_as_little_is_saved_as_by_hand(name: str) -> None:
    """As many saved values as the header written by hand has, or fewer; the same split."""
    header = getattr(custom_cells, name).header
    assert int(re.search(r"kSavedCount = (\d+)", header)[1]) <= SAVED[name]
    assert ("kSplitGradient = true" in header) == (name == "custom_gru")
    assert ("kRecurrent = true" in header) == (name != "custom_min_gru")


def random_expression(rng: np.random.Generator, depth: int, leaves: list) -> object:
    """Of a few functions and operations, which stays of order one for inputs of order one."""
    if depth == 0:
        return leaves[rng.integers(len(leaves))]

    def part() -> object:
        return random_expression(rng, depth - 1, leaves)

    made = [
        lambda: sigmoid(part()),
        lambda: exp(tanh(part())),
        lambda: softplus(part()),
        lambda: part() + part(),
        lambda: part() - part() * float(rng.choice([0.5, 2.0, 0.1])),
        lambda: part() * part(),
        lambda: part() / (2 + tanh(part())),
        lambda: maximum(part(), part()),
        lambda: minimum(part(), 0.3),
        lambda: where_positive(part(), part(), part()),
        lambda: tanh(part()) ** int(rng.choice([2, 3])),
    ]
    return made[rng.integers(len(made))]()


@pytest.mark.parametrize("seed", range(8))
def test_any_equations(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)

    @unrolled.cell(gates=("a", "b"), states=("h", "c"), units=("w",), name="arbitrary")
    def arbitrary(x, u, s, p):
        leaves = [x.a, u.a, x.a + u.a, x.b + u.b, x.b + u.b, s.h, s.c, p.w]
        zero = tanh((x.a + u.a * s.h) * p.w + x.b + u.b)  # what a unit of zeros is multiplied by

        def some(depth: int) -> object:
            return random_expression(rng, depth, leaves)

        return {state: zero * tanh(some(3) + some(2)) for state in ("h", "c")}

    monkeypatch.setattr(custom_cells, "arbitrary", arbitrary, raising=False)
    test_the_code_computes_the_twin("arbitrary", rng)
