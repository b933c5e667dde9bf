"""Problems of problems.py for the program of tests/cuda, and its results against the reference."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cuda_devices import run_program
from problems import Problem, present
from stacks import as_tuple
from tolerances import assert_close
from unrolled import functional
from unrolled.functional._scan_arguments import clip_limits

PATHS = ["auto", "steps", "persistent"]  # in the order of cuda::Path
PRECISIONS = ["full", "bf16"]  # in the order of Precision
NUMBERS = {info.name: number for number, info in enumerate(functional.cells())}
BARRIERS = {"all": 0, "no block barriers": 1, "no grid barriers": 2}
UNTOUCHED, GRADS_BEFORE = 7.0, 1.0  # what the program puts into y and dx, and into gradients
SHARED_BYTES = 48 * 1024  # of the emulated device


class Case(NamedTuple):
    """A problem and how the program gets it."""

    problem: Problem
    path: str
    training: bool = True
    zeros: bool = False  # dy and the gradients of the final states are left out
    clip: functional.GradientClip = None
    dothers: tuple[np.ndarray, ...] | None = None  # (T, B, H): gradients of the states after h
    batch_first: bool = False
    accumulate_dx: bool = False
    multiprocessors: int = 3
    barriers: str = "all"
    seed: int = 0

    def run(self, program: Path) -> dict[str, Any]:
        """The results that Problem.reference has, and all states after every step."""
        p, options = self.problem, self.problem.options
        numbers = [
            NUMBERS[p.cell],
            PRECISIONS.index(p.precision),
            p.x.shape[2],
            p.dstates[-1].shape[1],
            p.dy.shape[2],
            *p.x.shape[:2],
        ]
        numbers += [self.training, options["reverse"], self.batch_first, self.accumulate_dx]
        numbers += [PATHS.index(self.path), self.multiprocessors, SHARED_BYTES]
        numbers += [BARRIERS[self.barriers], self.seed]
        limits = [options.get("cell_clip", np.inf), *clip_limits("scan", self.clip)]
        given = (
            np.array(numbers, np.int64).tobytes()
            + np.array(limits, np.float32).tobytes()
            + gate_choice(p).tobytes()
            + optional(options.get("lengths"))
            + optional(options.get("resets"))
            + self.swapped(p.x).tobytes()
            + b"".join(map(optional, p.weights))
            + optional(joined(p.states))
            + optional(self.by_state(options.get("updates")))
            + optional(options.get("recurrent_factors"))
            + optional(None if self.zeros else self.by_state(self.dy()))
            + optional(None if self.zeros else joined(p.dstates))
        )
        values, begin = run_program(program, "scan", given), 0

        def take(like: np.ndarray) -> np.ndarray:
            nonlocal begin
            begin += like.size
            return values[begin - like.size : begin].reshape(like.shape)

        def take_swapped(like: np.ndarray) -> np.ndarray:
            return self.swapped(take(self.swapped(like)))

        states = list(p.dstates)
        y, *others = [take_swapped(np.empty((*p.dy.shape[:2], state.shape[1]))) for state in states]
        results = {"y": y, "states": tuple(map(take, states)), "others": others}
        if self.training:
            results["dx"], results["dstates"] = take_swapped(p.x), tuple(map(take, states))
            results["grads"] = tuple(map(take, present(p.weights)))
        assert begin == values.size
        return results

    def dy(self) -> list[np.ndarray]:
        """The gradients of all states after every step."""
        p = self.problem
        shapes = [(*p.dy.shape[:2], state.shape[1]) for state in p.dstates[1:]]
        return [p.dy, *(self.dothers or [np.zeros(shape, np.float32) for shape in shapes])]

    def by_state(self, arrays: Sequence[np.ndarray] | None) -> np.ndarray | None:
        """(T, B, H) arrays as the program gets them."""
        return None if arrays is None else joined([self.swapped(a) for a in arrays])

    def swapped(self, tokens: np.ndarray) -> np.ndarray:
        """Between (T, B, n) and what the program gets."""
        return tokens.swapaxes(0, 1) if self.batch_first else tokens

    def expected(self) -> dict[str, Any]:
        p = self.problem
        if self.zeros:
            p = p.but(dy=np.zeros_like(p.dy), dstates=tuple(map(np.zeros_like, p.dstates)))
        results = p.reference(clip_gradient=self.clip)
        steps = len(p.x)
        dead = np.arange(steps)[:, None] >= p.options.get("lengths", np.array(steps))
        results["y"][np.broadcast_to(dead, p.x.shape[:2])] = UNTOUCHED
        if self.accumulate_dx:
            results["dx"] += UNTOUCHED
        else:
            results["dx"][np.broadcast_to(dead, p.x.shape[:2])] = UNTOUCHED
        results["grads"] = tuple(g + GRADS_BEFORE for g in results["grads"])
        return results

    def check(self, program: Path) -> None:
        results, expected = self.run(program), self.expected()
        for key, truth in expected.items():
            if key not in results:
                continue
            actual = results[key]
            kind = "forward" if key in ("y", "states") else "gradient"
            roundings = self.problem.forward_roundings
            if kind == "gradient":
                roundings = self.problem.gradient_roundings + 1  # and what it is added to
            pairs = zip(as_tuple(actual), as_tuple(truth), strict=True)
            for i, (a, e) in enumerate(pairs):
                assert_close(a, e, K=roundings, kind=kind, what=f"{key} {i}")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def joined(arrays: Sequence[np.ndarray] | None) -> np.ndarray | None:
    """One array a state, one behind the other."""
    return None if arrays is None else np.concatenate([array.reshape(-1) for array in arrays])


def gate_choice(problem: Problem) -> np.ndarray:
    """Number, alpha and beta of what gates apply, three times; their limit; whether coupled."""
    functions, limit, coupled = problem.gates.arguments()
    names = list(functional.gate_functions())
    numbers = [number for f in functions for number in (names.index(f[0]), *f[1:])]
    return np.array([*numbers, *[0.0] * (9 - len(numbers)), limit, coupled], np.float32)


def optional(array: np.ndarray | None) -> bytes:
    present = int(array is not None).to_bytes(8, sys.byteorder)
    return present if array is None else present + array.tobytes()
