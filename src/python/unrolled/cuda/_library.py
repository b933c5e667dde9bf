"""What has to be there: the compiled module, a device with its driver, and cuBLAS."""

from __future__ import annotations

from functools import lru_cache

from .._extras import nvidia_folders

_CUBLAS = ("libcublas.so.13", "libcublas.so.12")


def is_available() -> bool:
    """Whether scans can run: the module is built, a device is there, and cuBLAS is found."""
    try:
        require()
    except (ImportError, RuntimeError):
        return False
    return True


@lru_cache(maxsize=1)
def require() -> None:
    """Loads what scans need, once.

    Raises:
        ImportError: this build of unrolled has no CUDA, or cuBLAS is not installed.
        RuntimeError: there is no device, or no driver that is new enough.
    """
    try:
        from .. import _cuda
    except ImportError as error:
        raise ImportError(
            "[cuda] expected a build of unrolled with CUDA, got one without; build it from source: "
            'pip install "./unrolled[cuda]" -Ccmake.define.UNROLLED_CUDA=ON',
            name="unrolled._cuda",
        ) from error
    if _cuda.device_count() == 0:
        raise RuntimeError("[cuda] expected a CUDA device, got none")
    try:
        _cuda.load_cublas(_candidates())
    except RuntimeError as error:
        raise ImportError(
            f'{error}\nthis needs the package "nvidia-cublas": pip install "unrolled[cuda]"',
            name="nvidia-cublas",
        ) from error


def _candidates() -> list[str]:
    """Where cuBLAS may be: in NVIDIA's packages, else where the system's loader looks."""
    packaged = [
        str(path)
        for name in _CUBLAS
        for folder in nvidia_folders()
        for path in sorted(folder.glob(f"*/lib/{name}"))
    ]
    return [*packaged, *_CUBLAS]
