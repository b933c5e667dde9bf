"""Any cell runs in JAX's programs, cells of a user's own among them, as the built-in layers do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from problems import Problem, make_problem
from processes import run_python
from tolerances import assert_close, assert_same_bits
from unrolled import functional
from unrolled.cells import relu, tanh

jax = pytest.importorskip("jax", reason='jax is not installed: pip install "unrolled[jax]"')
pytest.importorskip("sympy", reason='pip install "unrolled[cells]"')

import custom_cells  # noqa: E402 - needs sympy
from jax_problems import (  # noqa: E402 - needs jax
    EQUATIONS,
    NAMES,
    call,
    calls,
    check_jit,
    fast,
    plain,
    tree,
    vjp,
)

jnp: Any = jax.numpy
FURTHER = [info.name for info in functional.cells() if not isinstance(info, unrolled.cells.Cell)]
# Two states; no recurrent product; parameters of the units and three states.
CUSTOM = {
    ("custom_lstm", np.float32),
    ("custom_lstm", np.float64),
    ("custom_min_gru", np.float64),
    ("oddity", np.float64),
}
MODES: dict[str, dict[str, bool]] = {
    "plain": {},
    "ragged and resets": {"ragged": True, "resets": True},
    "ragged and reverse": {"ragged": True, "reverse": True},
}
custom = pytest.mark.parametrize(
    ("name", "kind"),
    sorted(CUSTOM, key=str),
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of this module's own, with the cells compiled: some ten seconds of a core each."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), "c++", "g++") if name):
        pytest.skip("needs a C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: getattr(custom_cells, each[0]).compile(each[1]), CUSTOM))
        yield


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """With 64-bit types."""
    with jax.enable_x64(True):
        yield


def assert_same_results(problem: Problem) -> None:
    ours, theirs = problem.vjp(), vjp(problem)
    for part in ours:
        assert_same_bits(theirs[part], ours[part], f"{problem.cell} {part}")


@custom
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_bits_of_a_custom_cell_are_those_of_the_kernels(name: str, kind: Any, mode: dict) -> None:
    assert_same_results(make_problem(name, (7, 5, 4, 9), kind, **mode))


@pytest.mark.parametrize("name", FURTHER)
def test_bits_of_every_built_in_cell(name: str) -> None:
    assert_same_results(make_problem(name, (7, 5, 4, 9), np.float32, ragged=True, resets=True))


@custom
@pytest.mark.parametrize("mode", [{}, {"ragged": True}, {"resets": True}], ids=str)
def test_gradients_are_those_that_jax_derives(name: str, kind: Any, mode: dict) -> None:
    """From the same equations, written for JAX, in float64."""
    problem = make_problem(name, (6, 5, 4, 7), kind, **mode)
    params, x, states, (dy, dfinal) = (
        jax.tree.map(lambda a: jnp.asarray(a, np.float64), part)
        for part in (tree(problem), problem.x, problem.states, (problem.dy, problem.dstates))
    )
    results, pullback = jax.vjp(lambda *a: plain(problem, *a), params, x, states)
    grads, dx, dstates = pullback((dy, dfinal))
    ours = vjp(problem)
    # Both round, the plain scan in float64.
    peer = problem.x.dtype == np.float64
    groups: list[tuple[str, Any, Any]] = [
        ("forward", (ours["y"], ours["states"]), results),
        ("gradient", (ours["dx"], ours["dstates"]), (dx, dstates)),
        ("gradient", ours["grads"], [grads[key] for key in tree(problem)]),
    ]
    for group, actual, expected in groups:
        count = getattr(problem, f"{group}_roundings")
        for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            assert_close(a, e, K=count, kind="peer" if peer else group, dtype=kind, what=group)


@pytest.fixture
def problem() -> Problem:
    return make_problem("oddity", (6, 4, 3, 5), np.float64, ragged=True)


def test_jit_changes_no_bit(problem: Problem) -> None:
    check_jit(problem)


def test_vmap_is_one_scan(problem: Problem) -> None:
    """Over batches of other lengths, and the gradient of the sum over them."""
    rng = np.random.default_rng(1)
    many = rng.standard_normal((3, *problem.x.shape))
    lengths = rng.integers(0, 7, (3, 4))

    def run(params: Any, x: Any, lengths: Any) -> Any:
        return call(problem, params, x, problem.states, lengths=lengths)[0]

    def loss(params: Any) -> Any:
        return jnp.sum(jax.vmap(run, (None, 0, 0))(params, many, lengths) ** 2)

    def joined(params: Any) -> Any:
        x = np.moveaxis(many, 0, 1).reshape(6, 12, 3)
        states = tuple(np.tile(s, (3, 1)) for s in problem.states)
        return jnp.sum(call(problem, params, x, states, lengths=lengths.ravel())[0] ** 2)

    mapped = jax.vmap(run, (None, 0, 0))(tree(problem), many, lengths)
    for i in range(3):
        assert_same_bits(mapped[i], run(tree(problem), many[i], lengths[i]))
    grads = jax.grad(loss)(tree(problem))
    assert_same_bits(jax.tree.leaves(grads), jax.tree.leaves(jax.grad(joined)(tree(problem))))
    assert calls(jax.grad(loss), tree(problem)) == ["backward", "forward", "pack"]


def test_vmap_of_weights(problem: Problem) -> None:
    many = {key: np.stack([w, w / 2]) for key, w in tree(problem).items()}

    def loss(params: Any) -> Any:
        return jnp.sum(call(problem, params, problem.x, problem.states)[0] * problem.dy)

    grads = jax.vmap(jax.grad(loss))(many)
    for i in range(2):
        one = jax.grad(loss)({key: w[i] for key, w in many.items()})
        assert_same_bits([g[i] for g in jax.tree.leaves(grads)], jax.tree.leaves(one))


def test_inside_of_a_scan() -> None:
    """States carried over windows give the bits, and the gradients, of one long scan."""
    problem = make_problem("custom_lstm", (12, 4, 3, 6), np.float64)
    args = tree(problem), problem.x, tuple(map(jnp.asarray, problem.states))

    def windows(params: Any, x: Any, states: Any) -> Any:
        def window(states: Any, x: Any) -> Any:
            y, states = call(problem, params, x, states)
            return states, y

        final, y = jax.lax.scan(window, states, x.reshape(3, 4, 4, 3))
        return y.reshape(12, 4, 6), final

    def loss(run: Any) -> Any:
        return lambda *a: sum(jnp.sum(part**2) for part in jax.tree.leaves(run(*a)))

    whole = lambda *a: call(problem, *a)  # noqa: E731
    assert_same_bits(windows(*args), whole(*args))
    ours = jax.tree.leaves(jax.grad(loss(windows), (0, 1, 2))(*args))
    theirs = jax.tree.leaves(jax.grad(loss(whole), (0, 1, 2))(*args))
    for a, e in zip(ours, theirs, strict=True):
        # The sums over windows are added in another order.
        assert_close(a, e, K=problem.gradient_roundings * 3, kind="peer", dtype=np.float64)


STACKS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "custom_lstm": lambda more: (
        unrolled.Recurrent(custom_cells.custom_lstm, 3, 5, 2, **more),
        lambda *a, **k: fast.recurrent(custom_cells.custom_lstm, *a, **k),
    ),
    "custom_min_gru": lambda more: (
        unrolled.Recurrent("custom_min_gru", 3, 5, 2, **more),
        lambda *a, **k: fast.recurrent("custom_min_gru", *a, **k),
    ),
    "lstm_projected": lambda more: (unrolled.LSTM(3, 5, 2, proj_size=2, **more), fast.lstm),
}


@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both directions"])
@pytest.mark.parametrize("name", STACKS)
def test_stacks_are_those_of_our_layers(name: str, both: bool, rng: np.random.Generator) -> None:
    layer, function = STACKS[name](
        {"bidirectional": both, "bias": not both, "dtype": np.float64, "rng": rng}
    )
    x = rng.standard_normal((6, 4, 3))
    options = {"lengths": np.array([6, 0, 3, 5]), "resets": rng.random((6, 4)) < 0.3}
    state = jax.tree.map(lambda s: rng.standard_normal(s.shape), layer(x)[1])
    (y, final), pullback = layer.vjp(x, state, **options)
    dy, dfinal = jax.tree.map(lambda a: rng.standard_normal(a.shape), (y, final))
    _, dstate = pullback(dy, dfinal)
    params = {name: array.copy() for name, array in layer.parameters.items()}
    got, pull = jax.vjp(lambda *a: function(*a, **options), params, x, state)
    grads, _, ours_dstate = pull((dy, dfinal))
    assert_same_bits(jax.tree.leaves(got), jax.tree.leaves((y, final)))
    assert_same_bits(jax.tree.leaves(ours_dstate), jax.tree.leaves(dstate))
    for key, grad in grads.items():
        assert_same_bits(grad, layer.grads[key], key)


@pytest.mark.slow
def test_a_cell_that_is_defined_anew_is_another_one(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    params = {"weight_ih_l0": rng.standard_normal((5, 4)).astype(np.float32),
              "weight_hh_l0": np.zeros((5, 5), np.float32)}  # fmt: skip
    for function, peer in ((tanh, np.tanh), (relu, lambda a: np.maximum(a, 0))):
        cell = unrolled.cell(gates=("a",), name="redefined")(_acting(function))
        y, _ = fast.recurrent(cell, params, x)
        assert_close(y, peer(x @ params["weight_ih_l0"].T), K=2 * 4 + 2, kind="forward")


def _acting(function: Any) -> Any:
    return lambda x, u, s: {"h": function(x.a + u.a)}


ODD = make_problem("oddity", (5, 4, 3, 6), np.float64)
MIN = make_problem("custom_min_gru", (5, 4, 3, 6), np.float64)
PROJECTED = make_problem("lstm_projected", (5, 4, 3, 6), np.float64)
H = np.zeros((1, 4, 6))
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an unknown cell": (
        lambda: fast.recurrent("unheard_of", tree(ODD), ODD.x),
        ValueError,
        r"\[cell\] expected one of rnn_tanh, .*, got 'unheard_of'",
    ),
    "no parameters of the units": (
        lambda: fast.recurrent("oddity", {k: tree(ODD)[k] for k in NAMES[:4]}, ODD.x),
        ValueError,
        r"\[oddity\] expected .* weight_unit_l0, \.\.\.; missing: weight_unit_l0, unknown: none",
    ),
    "parameters of other units": (
        lambda: fast.recurrent("oddity", {**tree(ODD), "weight_unit_l0": ODD.x[0, 0]}, ODD.x),
        ValueError,
        r"\[oddity\] expected weight_unit_l0 of shape \(P\*H,\) = \(12,\), got \(3,\)",
    ),
    "one state of three": (
        lambda: fast.recurrent("oddity", tree(ODD), ODD.x, H),
        TypeError,
        r"\[oddity\] expected state as a tuple \(h, m, k\), got ndarray",
    ),
    "a recurrent matrix too many": (
        lambda: fast.recurrent("custom_min_gru", {**tree(MIN), "weight_hh_l0": H[0]}, MIN.x),
        ValueError,
        r"\[custom_min_gru\] .* missing: none, unknown: weight_hh_l0",
    ),
    "a vector for the only matrix": (
        lambda: fast.recurrent("custom_min_gru", {"weight_ih_l0": H[0, 0]}, MIN.x),
        ValueError,
        r"\[custom_min_gru\] expected weight_ih_l0 of shape \(G\*H, I\) with H >= 1, got \(6,\)",
    ),
    "a projection to more": (
        lambda: fast.lstm({**tree(PROJECTED), "weight_hr_l0": np.zeros((7, 6))}, PROJECTED.x),
        ValueError,
        r"\[lstm\] expected weight_hr_l0 of shape \(R, H\) with 1 <= R <= H, got \(7, 6\)",
    ),
    "a projected state of H columns": (
        lambda: fast.lstm(tree(PROJECTED), PROJECTED.x, (H, H)),
        ValueError,
        r"\[lstm\] expected state h of shape \(layers\*directions, B, R\) = \(1, 4, 4\), "
        r"got \(1, 4, 6\)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_errors(what: str) -> None:
    bad, error, text = BAD[what]
    with pytest.raises(error, match=text):
        bad()
    with pytest.raises(error, match=text):
        jax.jit(bad)()


def test_sizes_that_only_a_projection_has() -> None:
    with pytest.raises(ValueError, match=r"\[gru\] expected 1 <= R <= H of a cell that projects"):
        functional.xla_sizes("gru", 2, 3, 2, 2, output_size=2, backward=True, dtype=np.float32)


def test_no_compiler(tmp_path: Path) -> None:
    result = run_python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import jax, numpy as np
        from custom_cells import custom_rnn
        from unrolled.interop import jax as fast
        params = {{"weight_ih_l0": np.ones((4, 3)), "weight_hh_l0": np.ones((4, 4))}}
        jax.config.update("jax_enable_x64", True)
        try:
            jax.jit(fast.recurrent, static_argnums=0)(custom_rnn, params, np.ones((2, 1, 3)))
        except RuntimeError as error:
            print(error)
        """,
        PATH="",
        CXX="",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert "or one of c++, g++, clang++, found none: install one" in result.stdout, result.stderr


def test_every_custom_cell_has_equations() -> None:
    assert {name for name, _ in CUSTOM} == {*EQUATIONS}
