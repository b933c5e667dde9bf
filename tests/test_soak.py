"""Memory stays flat over many steps of streams, pieces of sound and updates; see native/soak.py for
hours."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from native.soak import grows, listened_pieces, stream_steps, training_updates
from unrolled.audio import faint_noise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]


@pytest.mark.parametrize("work", [stream_steps, training_updates])
def test_memory_is_flat(work) -> None:
    growth, _ = grows(work(), print, minutes=0.25)
    assert growth < 2.0


def test_memory_is_flat_while_a_model_listens() -> None:
    pytest.importorskip("kaldi_native_fbank", reason='pip install "unrolled[speech]"')
    sound = faint_noise(16_000, np.random.default_rng(0))
    growth, _ = grows(listened_pieces(sound), print, minutes=0.25)
    assert growth < 2.0
