"""Imports of optional packages, with an error that says what to install."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any


def import_extra(module: str, extra: str) -> Any:
    """Imports `module`, which comes with the optional extra `extra` of this package.

    Raises:
        ImportError: the module is not installed; the text names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'this needs the package "{package}": pip install "unrolled[{extra}]"',
            name=package,
        ) from error


def nvidia_folders() -> list[Path]:
    """Where NVIDIA's packages put their files; empty where none is installed."""
    spec = importlib.util.find_spec("nvidia")
    return [] if spec is None else [Path(each) for each in spec.submodule_search_locations or ()]
