"""The bits of a result do not depend on the number of threads, on who else calls, or on fork."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from problems import Dims, make_problem
from processes import run_python
from tolerances import assert_same_bits
from unrolled import functional

# One step of one row, a small batch, and work enough for every thread in each product.
SIZES = [Dims(1, 1, 3, 5), Dims(6, 5, 7, 9), Dims(5, 1, 40, 130), Dims(4, 70, 33, 150)]


def same_for_every_team(compute: Callable[[], object]) -> None:
    functional.set_num_threads(1)
    expected = compute()
    for count in (2, 3):
        functional.set_num_threads(count)
        assert functional.get_num_threads() == count
        assert_same_bits(compute(), expected, f"{count} threads")


@pytest.mark.parametrize("dims", SIZES, ids=str)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_scan(cell: str, isa: str, dtype: type, dims: Dims, ragged: bool, threads: None) -> None:
    problem = make_problem(cell, dims, dtype, ragged=ragged, resets=ragged, reverse=ragged)
    same_for_every_team(lambda: (*problem.scan(), *problem.vjp().values()))


@pytest.mark.parametrize("rows", [1, 5, 130])
def test_head(isa: str, dtype: type, rows: int, threads: None, rng: np.random.Generator) -> None:
    x = rng.standard_normal((rows, 37)).astype(dtype)
    weight, bias = (
        rng.standard_normal((301, 37)).astype(dtype),
        rng.standard_normal(301).astype(dtype),
    )
    targets = rng.integers(-1, 301, rows)
    dy = rng.standard_normal((rows, 301)).astype(dtype)
    dx = rng.standard_normal((rows, 37)).astype(dtype)

    def compute() -> list[np.ndarray | None]:
        dweight, dbias, dtable = np.zeros_like(weight), np.zeros_like(bias), np.zeros_like(weight)
        functional.embedding_backward(np.abs(targets), dx, dweight=dtable)
        return [
            functional.linear(x, weight, bias),
            functional.linear_backward(x, weight, dy, dweight=dweight, dbias=dbias),
            dweight,
            dbias,
            dtable,
            functional.embedding(np.abs(targets), weight),
            functional.linear_cross_entropy(x, weight, bias, targets),
            *functional.linear_cross_entropy_vjp(x, weight, bias, targets, 0.3),
            functional.dropout(x, 0.4, seed=5),
        ]

    same_for_every_team(compute)


@pytest.mark.parametrize("size", [1, 1000, 70001])
def test_optimizers(isa: str, dtype: type, size: int, threads: None) -> None:
    def compute() -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        params, grads, m, v = (rng.random(size).astype(dtype) for _ in range(4))
        functional.adam_step(
            params, grads, m, v, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1,
            decoupled=True, step=3, grad_scale=0.5,
        )  # fmt: skip
        functional.sgd_step(
            params, grads, m, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, grad_scale=0.5
        )
        return [params, m, v, np.float64(functional.global_norm(params))]

    same_for_every_team(compute)


def test_several_python_threads_at_once(cell: str, isa: str) -> None:
    """Each with its own work, and all with one set of packed weights."""
    problems = [
        make_problem(cell, Dims(5, 1 + 3 * i, 6, 21), np.float32, seed=i, ragged=True)
        for i in range(4)
    ]
    shared = problems[0].pack()
    expected = [p.vjp() for p in problems]
    expected_shared = [functional.scan(shared, p.x, p.states, **p.options) for p in problems]

    def work(i: int) -> None:
        for _ in range(10):
            assert_same_bits(tuple(problems[i].vjp().values()), tuple(expected[i].values()))
            problem = problems[i]
            y, states = functional.scan(shared, problem.x, problem.states, **problem.options)
            assert_same_bits((y, states), expected_shared[i])

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, i) for i in range(4)]:
            future.result(timeout=600)


def test_changing_the_team_while_others_compute(threads: None) -> None:
    problem = make_problem("lstm", Dims(6, 20, 8, 40), np.float32)
    expected = tuple(problem.vjp().values())

    def compute() -> None:
        for _ in range(20):
            assert_same_bits(tuple(problem.vjp().values()), expected)

    def change() -> None:
        for i in range(20):
            functional.set_num_threads(1 + i % 3)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(f) for f in (compute, change, compute)]:
            future.result(timeout=600)


def test_more_threads_than_cpus() -> None:
    """Members sleep at each of 8,000 meetings: none of them may be missed."""
    result = run_python(
        """
        import os
        import numpy as np
        from unrolled import functional as f

        rng = np.random.default_rng(0)
        weights = f.pack(
            "lstm", rng.standard_normal((512, 128)), rng.standard_normal((512, 128)) * 0.1
        )
        x = rng.standard_normal((200, 1, 128))
        f.set_num_threads(1)
        expected = f.scan(weights, x)[0].tobytes()
        f.set_num_threads(2 * os.cpu_count())
        assert all(f.scan(weights, x)[0].tobytes() == expected for _ in range(40))
        """,
        UNROLLED_OVERSUBSCRIBE="1",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_fork() -> None:
    """The child has none of the parent's threads; it must start its own and not wait for those."""
    result = run_python(
        """
        import os, signal, sys, warnings
        import numpy as np
        from unrolled import functional as f

        warnings.simplefilter("ignore")  # Python warns about fork with threads: the case tested
        f.set_num_threads(3)
        rng = np.random.default_rng(0)
        weights = f.pack(
            "gru", rng.standard_normal((192, 32)), rng.standard_normal((192, 64)) * 0.1
        )
        x = rng.standard_normal((9, 40, 32))
        expected = f.scan(weights, x)[0].tobytes()
        for generation in range(3):
            child = os.fork()
            if child == 0:
                signal.alarm(300)
                same = f.scan(weights, x)[0].tobytes() == expected and f.get_num_threads() == 3
                if generation == 2 and same:
                    grandchild = os.fork()
                    if grandchild == 0:
                        os._exit(0 if f.scan(weights, x)[0].tobytes() == expected else 4)
                    same = os.waitpid(grandchild, 0)[1] == 0
                os._exit(0 if same else 3)
            status = os.waitpid(child, 0)[1]
            assert status == 0, f"child ended with {status}"
            assert f.scan(weights, x)[0].tobytes() == expected
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("count", [1, 3])
def test_environment_sets_the_number(count: int) -> None:
    result = run_python(
        "from unrolled import functional as f; print(f.get_num_threads())",
        UNROLLED_NUM_THREADS=str(count),
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == count


@pytest.mark.parametrize("value", ["0", "-2", "many", "2.5", "99999999999999999999"])
def test_environment_with_a_bad_number(value: str) -> None:
    result = run_python(
        "from unrolled import functional as f; print(f.get_num_threads())",
        UNROLLED_NUM_THREADS=value,
    )
    assert result.returncode == 1
    assert "ValueError" in result.stderr
    assert "UNROLLED_NUM_THREADS" in result.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_no_more_take_part_than_there_are_cpus() -> None:
    result = run_python(
        """
        import os
        import numpy as np
        from unrolled import functional as f

        before = len(os.listdir("/proc/self/task"))
        count = os.cpu_count() + 3
        f.set_num_threads(count)
        assert f.get_num_threads() == count
        rng = np.random.default_rng(0)
        f.scan(
            f.pack("lstm", rng.standard_normal((2048, 512)), rng.standard_normal((2048, 512))),
            rng.standard_normal((4, 64, 512)),
        )
        print(len(os.listdir("/proc/self/task")) - before)
        """
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == len(os.sched_getaffinity(0)) - 1


def test_default_number() -> None:
    result = run_python("from unrolled import functional as f; print(f.get_num_threads())")
    assert 1 <= int(result.stdout) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("bad", [0, -1])
def test_bad_numbers(bad: int, threads: None) -> None:
    with pytest.raises(ValueError, match=r"\[set_num_threads\] expected .* got"):
        functional.set_num_threads(bad)


def test_the_interpreter_goes_on_while_a_scan_runs() -> None:
    """The GIL is released: another Python thread makes progress during a long scan."""
    problem = make_problem("lstm", Dims(300, 100, 64, 128), np.float32)
    weights, interval = problem.pack(), sys.getswitchinterval()
    ticks, stop = [0], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0.0005)

    clock = threading.Thread(target=tick)
    sys.setswitchinterval(10.0)  # only a release lets the other thread run
    clock.start()
    try:
        before = ticks[0]
        functional.scan(weights, problem.x)
        passed = ticks[0] - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        clock.join()
    assert passed > 5
