"""A cell written as equations is what the built-in one is: derived, compiled, cached."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import unrolled
from problems import Dims, Problem, make_problem, present
from processes import run_python
from test_cells import MODES
from test_cells import check as check_forward
from test_gradients import check as check_gradients
from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled import functional, reference

pytest.importorskip("sympy", reason='pip install "unrolled[cells]"')

import custom_cells
from custom_cells import TWINS, custom_gru, custom_lstm

TESTS = str(Path(__file__).parent)
KNOWN = ("custom_rnn", "custom_gru", "custom_lstm", "custom_min_gru")
CELLS = (*KNOWN, "oddity")


def dtype_of(cell: str) -> type[np.floating]:
    return np.float64 if cell == "oddity" else np.float32


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own, with all cells compiled: some ten seconds of a core each."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), "c++", "g++") if name):
        pytest.skip("needs a C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda n: getattr(custom_cells, n).compile(dtype_of(n)), CELLS))
        yield folder / "unrolled" / "cells"


def problem_of(cell: str, dims: Dims, **mode: object) -> Problem:
    return make_problem(cell, dims, dtype_of(cell), **mode)


@pytest.mark.parametrize("name", KNOWN)
def test_one_step_is_that_of_the_built_in_cell(name: str) -> None:
    """Products have the same bits; each form of the cell rounds a few times behind them."""
    problem = make_problem(name, Dims(1, 7, 9, 37), np.float32)
    y, states = problem.scan()
    built_in, known_states = problem.but(cell=TWINS[name]).scan()
    for got, known in zip((y, *states), (built_in, *known_states), strict=True):
        # At most four roundings in either form, each of a value below 1 + |known|.
        bound = 2 * 4 * np.finfo(np.float32).eps / 2 * (1 + np.abs(known))
        assert (np.abs(got - known) <= bound).all()


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_the_specification_of_the_built_in_cell(name: str, mode: dict) -> None:
    problem = make_problem(name, Dims(9, 5, 3, 17), np.float32, **mode)
    got, expected = problem.vjp(), problem.but(cell=TWINS[name]).reference()
    assert_close(got["y"], expected["y"], K=problem.forward_roundings, kind="forward")
    for key in ("dx", "dstates", "grads"):
        for a, e in zip(got[key], expected[key], strict=True):
            assert_close(a, e, K=problem.gradient_roundings, kind="gradient", what=key)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dims", [Dims(5, 6, 7, 9), Dims(23, 33, 5, 16)], ids=str)
def test_its_own_specification(cell: str, dims: Dims, mode: dict) -> None:
    check_forward(problem_of(cell, dims, **mode))
    check_gradients(problem_of(cell, dims, **mode))


def test_central_differences(rng: np.random.Generator) -> None:
    """The compiled gradient against the compiled forward pass, along a line in all inputs."""
    problem = problem_of("oddity", Dims(6, 5, 4, 9), ragged=True)
    result = problem.vjp()
    inputs = [problem.x, *problem.states, *present(problem.weights)]
    gradients = [result["dx"], *result["dstates"], *result["grads"]]
    centres = [array.copy() for array in inputs]
    line = [rng.standard_normal(array.shape) for array in inputs]
    live = np.arange(6)[:, None] < problem.options["lengths"]

    def value(step: float) -> float:
        for array, centre, v in zip(inputs, centres, line, strict=True):
            array[...] = centre + step * v
        y, states = problem.scan()
        ends = sum((d * s).sum() for d, s in zip(problem.dstates, states, strict=True))
        return float((problem.dy * y * live[..., None]).sum() + ends)

    terms = [g * v for g, v in zip(gradients, line, strict=True)]
    assert_slope(
        float(sum(t.sum() for t in terms)),
        (value(STEP) - value(-STEP)) / (2 * STEP),
        float(sum(np.abs(t).sum() for t in terms)),
    )


@pytest.mark.parametrize("cell", CELLS)
def test_bits_depend_neither_on_threads_nor_on_other_rows(cell: str, threads: None) -> None:
    problem = problem_of(cell, Dims(5, 34, 6, 33), ragged=True)
    functional.set_num_threads(1)
    expected = problem.vjp()
    functional.set_num_threads(2)
    assert_same_bits(tuple(problem.vjp().values()), tuple(expected.values()))
    row = int(np.argmax(problem.options["lengths"]))
    assert_same_bits(problem.row(row).scan()[0][:, 0], expected["y"][:, row])


def test_a_nan_stays_in_its_row() -> None:
    problem = problem_of("oddity", Dims(4, 3, 5, 9))
    clean = problem.scan()[0]
    problem.x[1, 1, 2] = np.nan
    y = problem.scan()[0]
    assert np.isnan(y[1:, 1]).all()
    assert_same_bits(y[:, ::2], clean[:, ::2])


def test_layers_streams_and_files(rng: np.random.Generator) -> None:
    """Everything goes by name, so a layer of a cell of one's own is a layer like any other."""
    layer = unrolled.Recurrent(custom_gru, 6, 11, 2, bidirectional=True, rng=rng)
    known = unrolled.GRU(6, 11, 2, bidirectional=True)
    known.load_parameters(layer.parameters)
    x = rng.standard_normal((7, 3, 6)).astype(np.float32)
    lengths = np.array([7, 2, 5])
    (y, state), pullback = layer.vjp(x, lengths=lengths)
    (known_y, known_state), known_pullback = known.vjp(x, lengths=lengths)
    roundings = 2 * problem_of("custom_gru", Dims(7, 3, 22, 11)).gradient_roundings
    assert_close(y, known_y, K=roundings, kind="forward")
    assert_close(state, known_state, K=roundings, kind="forward")
    dy = rng.standard_normal(y.shape).astype(np.float32)
    dx, _ = pullback(dy)
    known_dx, _ = known_pullback(dy)
    assert_close(dx, known_dx, K=roundings, kind="gradient")
    for name, gradient in known.grads.items():
        assert_close(layer.grads[name], gradient, K=roundings, kind="gradient", what=name)

    lstm = unrolled.Recurrent("custom_lstm", 6, 11, rng=rng)
    expected, _ = lstm(x)
    stream = lstm.stream(3)
    assert_close(np.stack([stream(row).copy() for row in x]), expected, K=7 * 17, kind="forward")
    assert repr(lstm).startswith("Recurrent('custom_lstm', 6, 11")
    assert lstm.memory(7, 3).peak > 0


def test_models_are_restored_by_the_name(rng: np.random.Generator) -> None:
    """A file holds the configuration, with the cell's name, and parameters."""
    model = unrolled.LanguageModel(9, embedding_size=6, hidden_size=11, cell="custom_gru", rng=rng)
    restored = unrolled.LanguageModel.from_parameters(model.config, model.parameters)
    tokens = rng.integers(0, 9, (5, 3))
    assert_same_bits(restored.losses(tokens, tokens)[0], model.losses(tokens, tokens)[0])
    same = copy.deepcopy(model)
    assert_same_bits(same.losses(tokens, tokens)[0], model.losses(tokens, tokens)[0])


def test_it_is_listed_and_specified() -> None:
    info = functional.cell_info("custom_lstm")
    assert (info.gates, info.states) == (("i", "f", "g", "o"), ("h", "c"))
    assert info is custom_lstm
    assert reference.CELLS["custom_lstm"].gates == info.gates


def test_another_instruction_set_and_precision_are_compiled_when_needed(cache: Path) -> None:
    before = functional.isa()
    try:
        functional._force_isa("generic")
        check_forward(problem_of("custom_rnn", Dims(3, 4, 5, 6)))
        assert list(cache.glob("custom_rnn-generic-*.so"))
    finally:
        functional._force_isa(before)
    rounded = problem_of("custom_rnn", Dims(3, 4, 5, 6)).but(precision="int8")
    assert_same_bits(rounded.scan(), rounded.but(cell="rnn_tanh").scan())
    with pytest.raises(ValueError, match="expected full for arrays of float64"):
        problem_of("oddity", Dims(3, 4, 5, 6)).but(precision="int8").scan()


@pytest.mark.parametrize("variables", [{}, {"PATH": "", "CXX": ""}], ids=["same", "no compiler"])
def test_a_second_process_compiles_nothing(cache: Path, variables: dict[str, str]) -> None:
    """It could not: with the compiler at hand the step that runs it is taken away."""
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    result = run_python(
        f"""
        import sys
        sys.path.insert(0, {TESTS!r})
        from custom_cells import custom_gru
        from unrolled.cells import _compiler
        _compiler._run = None
        custom_gru.compile()
        """,
        **variables,
    )
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_other_threads_look_cells_up() -> None:
    """Among so many loaded cells that a fork nearly always comes while somebody looks."""
    result = run_python(
        f"""
        import os, signal, sys, threading, warnings
        import numpy as np
        sys.path.insert(0, {TESTS!r})
        from custom_cells import custom_gru
        from unrolled import _core, functional

        warnings.simplefilter("ignore")  # Python warns about fork with threads: the case tested
        path = str(custom_gru.build(functional.isa(), "float32", "full"))
        weights, stop = np.zeros((3, 1)), threading.Event()
        for _ in range(10_000):
            _core.load_cell(path)

        def look() -> None:
            try:
                functional.pack("unheard of", weights, weights)
            except ValueError:
                pass

        def work() -> None:
            while not stop.is_set():
                look()

        worker = threading.Thread(target=work)
        worker.start()
        statuses = []
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(300)  # a child that waits for its parent's threads is ended
                look()
                os._exit(0)
            statuses.append(os.waitpid(child, 0)[1])
            if statuses[-1]:
                break
        stop.set()
        worker.join()
        assert not any(statuses), statuses
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_another_thread_compiles() -> None:
    """The child compiles for itself; it does not wait for a thread that it lacks."""
    result = run_python(
        """
        import os, signal, threading, warnings
        import numpy as np
        from unrolled import functional

        warnings.simplefilter("ignore")
        begun, parent, weights = threading.Event(), os.getpid(), np.zeros((3, 1))

        def build(isa, dtype, precision):
            if os.getpid() == parent:
                begun.set()
                finished.wait()
            raise RuntimeError(f"compiled by {os.getpid()}")

        def use() -> None:
            try:
                functional.pack("slow", weights, weights)
            except RuntimeError as error:
                said.append(str(error))

        functional.add_cell(functional.CellInfo("slow", ("h",), ("h",)), build)
        finished, said = threading.Event(), []
        worker = threading.Thread(target=use)
        worker.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(300)
            use()
            os._exit(0 if said == [f"compiled by {os.getpid()}"] else 3)
        status = os.waitpid(child, 0)[1]
        finished.set()
        worker.join()
        assert status == 0, status
        assert said == [f"compiled by {parent}"]
        """
    )
    assert result.returncode == 0, result.stderr


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {TESTS!r})\nfrom custom_cells import custom_rnn\n"
    code += "import unrolled, numpy as np\n"
    code += "y, _ = unrolled.Recurrent(custom_rnn, 3, 4)(np.ones((2, 1, 3), np.float32))\n"
    code += "assert np.isfinite(y).all()"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    (built,) = (tmp_path / "unrolled" / "cells").iterdir()  # and nothing else is left
    assert built.suffix == ".so"


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"PATH": "", "CXX": ""}, "or one of c++, g++, clang++, found none: install one"),
        ({"CXX": "no-such-compiler -O1"}, "the one that CXX names"),
        ({"CXX": sys.executable}, "to compile C++20"),
        ({"XDG_CACHE_HOME": __file__}, "let XDG_CACHE_HOME name a folder"),
    ],
    ids=["none", "unknown", "broken", "no cache"],
)
def test_what_is_missing_is_said(variables: dict[str, str], text: str, tmp_path: Path) -> None:
    result = run_python(
        f"""
        import sys
        sys.path.insert(0, {TESTS!r})
        from custom_cells import custom_rnn
        try:
            custom_rnn.compile()
        except RuntimeError as error:
            print(error)
        """,
        **{"XDG_CACHE_HOME": str(tmp_path), **variables},
    )
    assert text in result.stdout, result.stdout + result.stderr
    assert not list(tmp_path.rglob("*.so"))


def test_no_sympy() -> None:
    result = run_python(
        """
        import sys
        sys.modules["sympy"] = None
        import unrolled
        try:
            unrolled.cell(gates=("h",), name="mine")(lambda x, u, s: {"h": x.h})
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install "unrolled[cells]"' in result.stdout, result.stderr
