"""A forked child computes what its parent does, whatever the parent's threads were doing."""

from __future__ import annotations

import os

import pytest

from processes import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SETUP = """
import os, signal, threading, warnings
import numpy as np
from unrolled import functional as f

warnings.simplefilter("ignore")  # Python warns about fork with threads: the case tested
f.set_num_threads(3)
rng = np.random.default_rng(0)
weights = f.pack("lstm", rng.standard_normal((256, 32)), rng.standard_normal((256, 64)) * 0.1)
x = rng.standard_normal((40, 20, 32))
grads = [np.zeros((256, 32)), np.zeros((256, 64)), None, None]


def compute():
    y, _, saved = f.scan_vjp(weights, x)
    dx, _ = f.scan_backward(saved, y, grads=[None if g is None else g * 0 for g in grads])
    return y.tobytes() + dx.tobytes()


expected = compute()
"""


def test_fork_while_other_threads_compute() -> None:
    """At any moment of a call: with the team at work, and locks of the pool of memory taken."""
    result = run_python(
        SETUP
        + """
stop, wrong = threading.Event(), []


def work():
    while not stop.is_set():
        if compute() != expected:
            wrong.append("parent")


workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers:
    worker.start()
for _ in range(25):
    child = os.fork()
    if child == 0:
        signal.alarm(300)  # a child that waits for its parent's threads is ended
        os._exit(0 if compute() == expected else 3)
    status = os.waitpid(child, 0)[1]
    if status:
        wrong.append(f"child ended with {status}")
stop.set()
for worker in workers:
    worker.join()
assert not wrong, wrong
assert compute() == expected
"""
    )
    assert result.returncode == 0, result.stderr


def test_a_child_uses_what_its_parent_made() -> None:
    """Streams, packed weights and saved values are memory like any other."""
    result = run_python(
        SETUP
        + """
stream_state = [np.zeros((1, 64)), np.zeros((1, 64))]
stream = f.Stream([weights], [stream_state])
out = np.empty((1, 64))
stream.step(x[0, :1], out)
_, _, saved = f.scan_vjp(weights, x)
child = os.fork()
if child == 0:
    signal.alarm(300)
    stream.step(x[1, :1], out)
    both = f.scan(weights, x[:2, :1].copy())[0][1]
    f.scan_backward(saved, None, grads=[None if g is None else g * 0 for g in grads])
    os._exit(0 if np.array_equal(out, both) else 3)
status = os.waitpid(child, 0)[1]
assert status == 0, status
"""
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str) -> None:
    result = run_python(
        f"""
        import multiprocessing, warnings
        import numpy as np
        from unrolled import functional

        warnings.simplefilter("ignore")
        functional.set_num_threads(2)
        rng = np.random.default_rng(0)
        weights = functional.pack("gru", rng.random((96, 8)), rng.random((96, 32)) * 0.1)
        x = rng.random((50, 16, 8))
        expected = functional.scan(weights, x)[0]
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            jobs = [pool.apply_async(functional.global_norm, (x.reshape(-1),)) for _ in range(4)]
            norms = [job.get(timeout=500) for job in jobs]
        assert set(norms) == {{functional.global_norm(x.reshape(-1))}}
        assert np.array_equal(functional.scan(weights, x)[0], expected)
        """
    )
    assert result.returncode == 0, result.stderr
