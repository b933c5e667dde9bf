"""Batches made ahead by a thread are those made without it, and the thread never stays behind."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes import run_python
from unrolled.training import BucketBatches, Prefetch, StreamBatches

TOKENS = np.random.default_rng(0).integers(0, 250, 500).astype(np.uint8)


def streams(seed: int = 0) -> StreamBatches:
    return StreamBatches(TOKENS, batch_size=3, steps=11, seed=seed)  # 15 batches an epoch


def buckets(collate: Any = lambda indices: indices) -> BucketBatches[Any]:
    return BucketBatches(TOKENS[:60].astype(int), collate, max_tokens=700, seed=1)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("unrolled-prefetch")]


@given(st.integers(0, 40), st.integers(1, 5))
def test_the_same_batches_and_positions(position: int, depth: int) -> None:
    plain = streams()
    with Prefetch(streams(), depth) as ahead:
        for _ in range(position):
            expected, got = plain.next(), ahead.next()
            np.testing.assert_array_equal(got.tokens, expected.tokens)
            np.testing.assert_array_equal(got.fresh, expected.fresh)
            assert ahead.epoch == plain.epoch
            assert ahead.state() == plain.state()
        state = ahead.state()
    # Its state continues anywhere, and a state from anywhere continues here.
    resumed = streams(seed=7)
    resumed.load_state(state)
    with Prefetch(streams(seed=7), depth) as again:
        again.next()
        again.load_state(state)
        assert again.epoch == plain.epoch
        for _ in range(20):
            expected = plain.next().tokens
            np.testing.assert_array_equal(resumed.next().tokens, expected)
            np.testing.assert_array_equal(again.next().tokens, expected)


def test_closing_gives_the_batches_back() -> None:
    plain, inner = buckets(), buckets()
    with Prefetch(inner, 3) as ahead:
        for _ in range(5):
            np.testing.assert_array_equal(ahead.next(), plain.next())
        assert threads()
    assert not threads()
    assert inner.state() == plain.state()
    np.testing.assert_array_equal(ahead.next(), plain.next())  # it starts again
    ahead.close()
    ahead.close()
    assert not threads()


def test_batches_are_made_ahead() -> None:
    made = threading.Semaphore(0)

    def collate(indices: np.ndarray) -> np.ndarray:
        made.release()
        return indices

    with Prefetch(buckets(collate), depth=2) as ahead:
        ahead.next()
        for _ in range(3):  # the one handed out, and two more without being asked for
            assert made.acquire(timeout=60)
        assert not made.acquire(timeout=0.05), "no more than that"


def test_an_error_belongs_to_its_batch() -> None:
    broken = True

    def collate(indices: np.ndarray) -> np.ndarray:
        if broken and 17 in indices:
            raise OSError("no file 17")
        return indices

    plain = buckets()
    with Prefetch(buckets(collate), depth=3) as ahead:
        while True:
            expected = plain.next()
            if 17 in expected:
                break
            np.testing.assert_array_equal(ahead.next(), expected)
        before = ahead.state()
        for _ in range(2):  # asked again, tried again
            with pytest.raises(OSError, match="no file 17"):
                ahead.next()
            assert ahead.state() == before
            assert not threads()
        broken = False
        np.testing.assert_array_equal(ahead.next(), expected)
        np.testing.assert_array_equal(ahead.next(), plain.next())


def test_a_position_in_other_data_is_refused_and_changes_nothing() -> None:
    plain = streams()
    with Prefetch(streams()) as ahead:
        plain.next(), ahead.next()
        with pytest.raises(ValueError, match="the data are not those"):
            ahead.load_state({**ahead.state(), "steps": 12})
        np.testing.assert_array_equal(ahead.next().tokens, plain.next().tokens)


def test_a_forgotten_one_ends_its_thread() -> None:
    ahead = Prefetch(streams())
    ahead.next()
    (thread,) = (t for t in threading.enumerate() if t.name.startswith("unrolled-prefetch"))
    del ahead
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_depth_is_checked() -> None:
    with pytest.raises(ValueError, match="depth >= 1, got 0"):
        Prefetch(streams(), 0)


PROGRAM = """
    import os, signal, sys, threading, time, warnings
    import numpy as np
    from unrolled.training import BucketBatches, Prefetch

    def collate(indices):
        if len(made) >= 2:
            waiting.set()
            time.sleep({pause})
        made.append(1)
        return indices

    made, waiting = [], threading.Event()
    ahead = Prefetch(BucketBatches(range(1, 50), collate, max_tokens=50, seed=0), depth=4)
    first = ahead.next()
"""


def test_a_program_ends_with_batches_under_way() -> None:
    done = run_python(PROGRAM.format(pause=0.2), timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="signals are sent differently there")
def test_ctrl_c_while_waiting_for_a_batch() -> None:
    code = (
        PROGRAM.format(pause=2)
        + """
    ahead.next()
    def press():
        waiting.wait()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=press).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    state = ahead.state()
    try:
        ahead.next()
    except KeyboardInterrupt:
        assert ahead.state() == state
        print("interrupted")
    """
    )
    done = run_python(code, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_parent_and_child_go_on_after_a_fork() -> None:
    code = (
        PROGRAM.format(pause=0.01)
        + """
    warnings.simplefilter("ignore")  # Python warns of any fork with threads
    child = os.fork()
    found = [ahead.next().tolist() for _ in range(10)]
    os.write(1, f"{found}\\n".encode())  # one call: lines of two processes stay whole
    ahead.close()
    assert threading.active_count() == 1
    if child:
        assert os.waitpid(child, 0)[1] == 0
    """
    )
    done = run_python(code, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    one, other = done.stdout.splitlines()
    assert one == other
