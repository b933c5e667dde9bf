"""Faults planted on purpose: a sanitizer that lets them pass would let others pass, too.

python control.py address     reads behind the end of an array
python control.py thread      two threads step one stream, which is for one
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from numpy.lib.stride_tricks import as_strided

from unrolled import functional


def address() -> None:
    functional.global_norm(as_strided(np.zeros(16, np.float32), (20,), (4,)))


def thread() -> None:
    functional.set_num_threads(1)
    weights = functional.pack("gru", np.zeros((96, 8)), np.zeros((96, 32)), backward=False)
    stream = functional.Stream([weights], [[np.zeros((1, 32))]])

    def step() -> None:
        for _ in range(2000):
            stream.step(np.zeros((1, 8)), np.empty((1, 32)))

    threads = [threading.Thread(target=step) for _ in range(2)]
    for started in threads:
        started.start()
    for started in threads:
        started.join()


{"address": address, "thread": thread}[sys.argv[1]]()
