"""The types that users see are true: `_core.pyi` against the extension, mypy over the package."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled
from unrolled import _core, functional

ROOT = Path(__file__).resolve().parents[1]
STUB = Path(unrolled.__file__).with_name("_core.pyi")

# How pybind11 writes a parameter's type, and how the stub does.
SPELLINGS = {
    "typing.SupportsFloat | typing.SupportsIndex": "float",
    "typing.SupportsInt | typing.SupportsIndex": "int",
    "unrolled._core.": "",
    "collections.abc.": "",
    "numpy.dtype": "np.dtype",
    "numpy.ndarray": "Array",
    "NDArray[np.int64]": "Array",
    "NDArray[np.float64]": "Array",
    "NDArray[np.bool_]": "Array",
    "NDArray[np.uint8]": "Array",
    "_Array": "Array",
    "Sequence[": "list[",
    "typing.Annotated[list[int], 'FixedSize(2)']": "tuple[int, int]",
    "typing.Annotated[list[int], 'FixedSize(4)']": "_Steps",
}


def plain(annotation: str) -> str:
    for given, short in SPELLINGS.items():
        annotation = annotation.replace(given, short)
    return annotation


def signature(function: ast.FunctionDef) -> tuple[list[tuple[str, str]], str]:
    """([(parameter, type)], result type)."""
    arguments = [a for a in function.args.args if a.arg != "self"]
    parameters = [(a.arg, plain(ast.unparse(a.annotation))) for a in arguments]
    return parameters, plain(ast.unparse(function.returns))


def stub() -> dict[str, ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def public(names: object) -> set[str]:
    return {name for name in vars(names) if not name.startswith("_")}


def constants() -> dict[str, str]:
    """Names of the stub's constants and their types."""
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    return {
        n.target.id: ast.unparse(n.annotation)
        for n in tree.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }


def test_the_stub_names_everything_and_nothing_else() -> None:
    assert set(stub()) | set(constants()) == public(_core)


def test_constants() -> None:
    for name, type_name in constants().items():
        assert type(getattr(_core, name)).__name__ == type_name, name


@pytest.mark.parametrize("name", [n for n, d in stub().items() if isinstance(d, ast.FunctionDef)])
def test_signature(name: str) -> None:
    line = getattr(_core, name).__doc__.splitlines()[0]
    assert line.startswith(name), f"an overload has no one signature: {line}"
    runtime = ast.parse(f"def {line}: ...").body[0]
    assert signature(stub()[name]) == signature(runtime)


@pytest.mark.parametrize("name", [n for n, d in stub().items() if isinstance(d, ast.ClassDef)])
def test_members(name: str) -> None:
    members = [f for f in stub()[name].body if isinstance(f, ast.FunctionDef)]
    runtime = getattr(_core, name)
    assert {f.name for f in members if not f.name.startswith("_")} == public(runtime)
    for member in members:
        if member.decorator_list:  # a property
            text = getattr(runtime, member.name).fget.__doc__
            result = plain(text.strip().splitlines()[0].split("-> ")[-1])
            expected = plain(ast.unparse(member.returns))
            assert result.split("[")[0] == expected.split("[")[0], member.name
        else:
            line = getattr(runtime, member.name).__doc__.splitlines()[0]
            assert signature(member) == signature(ast.parse(f"def {line}: ...").body[0])


def test_public_functions_are_documented_and_typed() -> None:
    for module in (functional, unrolled.reference):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or not function.__module__.startswith(module.__name__):
                continue
            assert function.__doc__, f"{module.__name__}.{name} has no docstring"
            hints = set(function.__annotations__)
            missing = {*inspect.signature(function).parameters, "return"} - hints
            assert not missing, f"{module.__name__}.{name}: {missing} have no type"


def test_the_package_says_that_it_is_typed() -> None:
    assert STUB.with_name("py.typed").is_file()


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="runs in the source tree")
def test_mypy_strict(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
