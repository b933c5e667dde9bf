"""Bytes as a source of choices: the same bytes give the same input, whoever chose them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

#: AddressSanitizer ends the process where `new` would throw: nothing huge may be asked for.
MODEST = "asan" in os.environ.get("LD_PRELOAD", "")

INTEGERS = (0, 1, -1, 2, 3, 7, 64, 255, 2**15, -(2**31), 2**31, 2**32 + 1, 2**53, 2**62, 2**63 - 1,
            -(2**63), 2**63, 2**64, 10**30)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-300, 1e300, math.inf, -math.inf, math.nan)
LETTERS = "aé\u0301 .'\n\r\t\0\u2019\u2028\ud800\U0001f600AZ09_%/<>{}[]\"\\"


class Source:
    """Takes choices off the front of `data`; behind its end every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def integer(self, low: int, high: int) -> int:
        """A number in low .. high."""
        size = ((high - low).bit_length() + 7) // 8
        return low + int.from_bytes(self.bytes(size), "little") % (high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def one_in(self, count: int) -> bool:
        """True once in `count` times, and never behind the end."""
        return self.integer(0, count - 1) == count - 1

    def text(self, most: int = 12) -> str:
        return "".join(self.choice(LETTERS) for _ in range(self.integer(0, most)))

    def json(self, depth: int = 2) -> Any:
        """Any JSON value, odd ones preferred."""
        kind = self.integer(0, 7 if depth else 5)
        if kind == 0:
            return None
        if kind == 1:
            return self.one_in(2)
        if kind == 2:
            return self.choice(INTEGERS)
        if kind == 3:
            return self.choice(FLOATS)
        if kind in (4, 5):
            return self.text()
        count = self.integer(0, 3)
        if kind == 6:
            return [self.json(depth - 1) for _ in range(count)]
        return {self.text(6): self.json(depth - 1) for _ in range(count)}

    def changed(self, tree: Any) -> Any:
        """A copy of a JSON value with one place in it changed, taken away or added."""
        if isinstance(tree, dict) and tree and not self.one_in(8):
            name = self.choice(sorted(tree))
            rest = {key: value for key, value in tree.items() if key != name}
            what = self.integer(0, 9)
            if what == 9:
                return rest
            if what == 8:
                return {**rest, self.text(6): tree[name]}
            return {**rest, name: self.changed(tree[name])}
        if isinstance(tree, list) and tree and not self.one_in(8):
            place = self.integer(0, min(len(tree), 256) - 1)
            what = self.integer(0, 9)
            middle = [] if what == 9 else [self.changed(tree[place])]
            return [*tree[:place], *middle, *tree[place + 1 :]]
        return self.json()

    def damaged(self, data: bytes) -> bytes:
        """A copy of `data` with a few bytes changed, or cut, or lengthened."""
        for _ in range(self.integer(1, 4)):
            at = self.integer(0, max(len(data) - 1, 0))
            what = self.integer(0, 5)
            if what == 4:
                data = data[:at]
            elif what == 5:
                data = data[:at] + self.bytes(self.integer(1, 9)) + data[at:]
            else:
                data = data[:at] + self.bytes(1) + data[at + 1 :]
        return data
