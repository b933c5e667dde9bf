"""One instruction set is chosen once; UNROLLED_ISA forces it; what is not there is an error."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from problems import Dims, make_problem
from processes import run_python
from tolerances import assert_close
from unrolled import functional

ISAS = functional.available_isas()
SHOW = "from unrolled import functional as f; print(f.isa(), *f.available_isas())"


def test_the_best_is_the_default() -> None:
    result = run_python(SHOW)
    assert result.returncode == 0, result.stderr
    chosen, *available = result.stdout.split()
    assert tuple(available) == ISAS
    best = next(
        name
        for name in ("avx512_amx", "avx512_bf16", "avx512", "avx2", "neon", "generic")
        if name in ISAS
    )
    assert chosen == best


def test_generic_is_always_there() -> None:
    assert "generic" in ISAS
    assert functional.isa() in ISAS


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("avx2", " avx2 "),
        ("avx512", " avx512f "),
        ("avx512_bf16", " avx512_bf16 "),
        ("avx512_amx", " amx_bf16 "),
    ],
)
def test_what_the_cpu_has_is_available(name: str, flag: str) -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        assert name not in ISAS
        return
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next(line for line in file if line.startswith("flags"))
    if flag not in flags.replace("\n", " "):
        assert name not in ISAS
    else:
        assert name in ISAS


@pytest.mark.parametrize("name", ISAS)
def test_environment_forces(name: str) -> None:
    result = run_python(SHOW, UNROLLED_ISA=name)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == name


@pytest.mark.parametrize("name", ["AVX9000", "avx", "", "neon", "avx2"])
def test_environment_with_what_is_not_there(name: str) -> None:
    if name in ISAS:
        pytest.skip("this CPU has it")
    result = run_python(SHOW, UNROLLED_ISA=name)
    if name == "":
        assert result.returncode == 0, "an empty variable is as good as none: " + result.stderr
        return
    assert result.returncode == 1
    assert "ValueError" in result.stderr
    assert "UNROLLED_ISA" in result.stderr
    for choice in ISAS:
        assert choice in result.stderr


def test_forcing_what_is_not_there() -> None:
    before = functional.isa()
    with pytest.raises(ValueError, match="generic"):
        functional._force_isa("AVX9000")
    assert functional.isa() == before


@pytest.mark.skipif(len(ISAS) < 2, reason="this CPU has one instruction set")
def test_weights_of_another_isa_are_refused(isa: str) -> None:
    problem = make_problem("gru", Dims(2, 2, 3, 4), np.float32)
    weights = problem.pack()
    functional._force_isa(next(name for name in ISAS if name != isa))
    with pytest.raises(ValueError, match=rf"^\[gru\] expected .*{isa}"):
        functional.scan(weights, problem.x)


@pytest.mark.skipif(len(ISAS) < 2, reason="this CPU has one instruction set")
def test_all_agree(cell: str, dtype: type) -> None:
    """Not in bits (the order of a sum follows the lanes), but to rounding."""
    problem = make_problem(cell, Dims(6, 7, 9, 35), dtype, ragged=True)
    results, before = [], functional.isa()
    for name in ISAS:
        functional._force_isa(name)
        results.append(problem.vjp())
    functional._force_isa(before)
    for other in results[1:]:
        for key in ("y", "dx"):
            assert_close(other[key], results[0][key], K=problem.gradient_roundings, kind="gradient")
