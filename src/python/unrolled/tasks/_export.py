"""A model out of a checkpoint, to be used elsewhere: without its training, in 8 bits, as ONNX."""

from pathlib import Path

from unrolled.functional import Precision
from unrolled.interop import onnx

from ._saved import PathLike, Saved, with_suffix
from ._task import find_task


def export(
    checkpoint: PathLike,
    output: PathLike,
    *,
    precision: Precision = "full",
    state: bool = False,
    lengths: bool = False,
) -> tuple[Path, ...]:
    """Writes the best model of a checkpoint into a file of its own.

    Such a file is loaded as any checkpoint; only training cannot go on from it. In "int8" the
    matrices of recurrent layers take a quarter of the space, and the loaded model multiplies in
    int8: it answers bit for bit as the full one does in that precision.

    A file NAME.onnx gets the network alone, for other programs (extra `[onnx]`): what makes its
    numbers out of text, sound or videos, and what reads its answers, is not in it. Of a model that
    writes token after token, as translations and captions, that is two files: NAME.encoder.onnx and
    NAME.decoder.onnx, one step of a search.

    Args:
        checkpoint: a file that a training wrote, or an exported one.
        output: the file to write; `.safetensors` is added where it is missing.
        precision: "full" or "int8".
        state, lengths: see `unrolled.interop.onnx.export`; of an ONNX model.

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CheckpointError: it cannot be read.
        ValueError: the precision is another one, the output is the checkpoint itself, or the model
            has no form in ONNX.
        TypeError: int8 of weights that are not float32.
    """
    if precision not in ("full", "int8"):
        raise ValueError(f"[export] expected precision full or int8, got {precision!r}")
    if Path(output).suffix == ".onnx":
        if precision != "full":
            raise ValueError(f"[export] an ONNX model is in full precision, not in {precision}")
        saved = Saved.read(checkpoint, training=False)
        model = saved.restore(find_task(saved.task_name)).model
        written = []
        for part in onnx.parts(model) or (None,):
            path = Path(output) if part is None else Path(output).with_suffix(f".{part}.onnx")
            onnx.export(model, path, part=part, state=state, lengths=lengths)
            written.append(path)
        return tuple(written)
    if state or lengths:
        raise ValueError(f"[export] state and lengths are of ONNX models, not of {output}")
    path = with_suffix(output)
    if path.resolve() == Path(checkpoint).resolve():
        raise ValueError(f"[export] {path} would be replaced, and its training be lost")
    Saved.read(checkpoint, training=False).write_model(path, precision)
    return (path,)
