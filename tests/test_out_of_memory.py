"""Where there is no memory, there is MemoryError, and the process goes on."""

from __future__ import annotations

import sys

import pytest

from processes import run_python

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs a limit on the address space"
)

# Each asks for more than the limit leaves: what it makes, and what then takes too much memory.
CASES = {
    "pack": ("", "f.pack('lstm', big, big)"),
    "scan": ("w = f.pack('rnn_tanh', one, one, backward=False)", "f.scan(w, column)"),
    "scan_vjp": ("w = f.pack('lstm', four, four)", "f.scan_vjp(w, half, out=half)"),
    "scan_backward": (
        "w = f.pack('lstm', tall, square); long = np.zeros((2000, 1, 1), np.float32);"
        "saved = f.scan_vjp(w, long)[2]; grads = [np.zeros_like(a) for a in (tall, square)]",
        "fill(); f.scan_backward(saved, None, grads=[*grads, None, None], dx=long)",
    ),
    "stream": (
        "w = f.pack('gru', three, three, backward=False)",
        "f.Stream([w], [[column.reshape(-1, 1)]])",
    ),
    "linear": ("", "f.PackedLinear(big)"),
    "cross_entropy": (
        "y = np.zeros((1, 1), np.float32)",
        "f.linear_cross_entropy(y, column.reshape(-1, 1), None, [0])",
    ),
    "optimizer": (
        "from unrolled import Linear; from unrolled.training import Adam;"
        "m = Linear(8192, 8192, init='zeros')",
        "fill(); Adam(m)",
    ),
    "layer": ("import unrolled", "unrolled.LSTM(16384, 16384, init='zeros')"),
    "memory_query": ("", "f.scan_memory('lstm', 2**40, 2**40, 2**20, 2**20)"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_error(case: tuple[str, str]) -> None:
    setup, call = case
    result = run_python(
        f"""
        import resource
        import numpy as np
        from unrolled import functional as f

        f.set_num_threads(2)
        rng = np.random.default_rng(0)
        good = f.pack("lstm", rng.standard_normal((256, 64)), rng.standard_normal((256, 64)) * 0.1)
        x = rng.standard_normal((30, 20, 64))
        expected = f.scan(good, x)[0].tobytes()  # the team has started

        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limit = used + (1300 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        one, three, four = (np.zeros((n, 1), np.float32) for n in (1, 3, 4))
        tall, square = (np.zeros((4 * 512, n), np.float32) for n in (1, 512))
        held = []

        def fill():
            \"\"\"Takes what the limit leaves, but for a little, and what calls have kept.\"\"\"
            f.trim_memory()
            for size in (64 << 20, 4 << 20, 1 << 20):
                try:
                    while True:
                        held.append(np.empty(size, np.uint8))
                except MemoryError:
                    continue

        if "big" in {call!r}:
            big = np.zeros((4 * 8192, 8192), np.float32)  # 1 GiB
        column = np.zeros((150_000_000, 1, 1), np.float32) if "column" in {call!r} else None
        half = np.zeros((100_000_000, 1, 1), np.float32) if "half" in {call!r} else None
        {setup}
        try:
            {call}
        except MemoryError:
            held.clear()
        else:
            raise SystemExit("no MemoryError")
        for _ in range(3):
            assert f.scan(good, x)[0].tobytes() == expected
        """
    )
    assert result.returncode == 0, result.stderr


def test_kept_memory_is_given_up_before_an_error() -> None:
    """Buffers of calls that are over are kept for the next; they do not stand in a call's way."""
    result = run_python(
        """
        import resource
        import numpy as np
        from unrolled import functional as f

        def weights(hidden):
            matrix = np.zeros((hidden, hidden), np.float32)
            return f.pack("rnn_tanh", matrix, matrix, backward=False)

        held = [weights(3000) for _ in range(4)]  # 72 MB each
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        held.clear()  # kept, and too small for the next
        limit = used + (150 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        weights(5000)  # 100 MB for the matrix, 200 MB packed
        """
    )
    assert result.returncode == 0, result.stderr
