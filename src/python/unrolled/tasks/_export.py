"""A model out of a checkpoint, to be used elsewhere: without its training, and in 8 bits."""

from pathlib import Path

from unrolled.functional import Precision

from ._saved import PathLike, Saved, with_suffix


def export(checkpoint: PathLike, output: PathLike, *, precision: Precision = "full") -> Path:
    """Writes the best model of a checkpoint into a file of its own.

    Such a file is loaded as any checkpoint; only training cannot go on from it. In "int8" the
    matrices of recurrent layers take a quarter of the space, and the loaded model multiplies in
    int8: it answers bit for bit as the full one does in that precision.

    Args:
        checkpoint: a file that a training wrote, or an exported one.
        output: the file to write; `.safetensors` is added where it is missing.
        precision: "full" or "int8".

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CheckpointError: it cannot be read.
        ValueError: the precision is another one, or the output is the checkpoint itself.
        TypeError: int8 of weights that are not float32.
    """
    if precision not in ("full", "int8"):
        raise ValueError(f"[export] expected precision full or int8, got {precision!r}")
    path = with_suffix(output)
    if path.resolve() == Path(checkpoint).resolve():
        raise ValueError(f"[export] {path} would be replaced, and its training be lost")
    Saved.read(checkpoint, training=False).write_model(path, precision)
    return path
