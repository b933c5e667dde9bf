"""Memory stays flat over many steps of streams and many updates; see native/soak.py for an hour."""

from __future__ import annotations

import sys

import pytest

from native.soak import grows, stream_steps, training_updates

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]


@pytest.mark.parametrize("work", [stream_steps, training_updates])
def test_memory_is_flat(work) -> None:
    growth, _ = grows(work, 0.25, print)
    assert growth < 2.0
