"""What cannot be written as a graph of ONNX is refused, and no file is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unrolled.interop.onnx import export
from unrolled.layers import GRU, LSTM, Dropout, Layer, Linear, Recurrent
from unrolled.models import ForecastModel, LanguageModel, Seq2Seq, SequenceModel

pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")

I, H = 5, 7  # noqa: E741


def writer(cell: str = "lstm") -> Seq2Seq:
    return Seq2Seq(7, 9, embedding_size=4, hidden_size=6, cell=cell)


def test_models(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    refused: list[tuple[Layer, dict[str, Any], str]] = [
        (Dropout(0.5), {}, "there is no graph of Dropout; expected one of .*, CaptionModel"),
        (Linear(2, 3), {"state": True}, "a graph of Linear has no option state"),
        (SequenceModel(2, 3), {"state": True}, "a graph of SequenceModel has no option state"),
        (LanguageModel(9), {"lengths": True}, "a graph of LanguageModel has no option lengths"),
        (writer(), {}, "expected part 'encoder' or 'decoder' of Seq2Seq, got None"),
        (writer(), {"part": "bridge"}, "part 'encoder' or 'decoder' of Seq2Seq, got 'bridge'"),
        (writer(), {"part": "decoder", "state": True}, "a graph of Seq2Seq has no option state"),
        (writer("mgu"), {"part": "encoder"}, "expected a cell out of .* got 'mgu'"),
        (writer("mgu"), {"part": "decoder"}, "expected a cell out of .* got 'mgu'"),
        (LanguageModel(9), {"part": "decoder"}, "part None of LanguageModel, got 'decoder'"),
        (ForecastModel(4, 1, 1, 3, decoder="autoregressive"), {}, "decoder 'direct'"),
    ]
    for model, options, text in refused:
        with pytest.raises(ValueError, match=rf"\[onnx\.export\] .*{text}"):
            export(model, path, **options)
        assert not path.exists()


@pytest.mark.parametrize("cell", ["mgu", "min_gru", "indrnn", "slstm", "lstm_norm"])
def test_a_cell_that_onnx_does_not_have(cell: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"expected a cell out of lstm, .* got '{cell}'"):
        export(Recurrent(cell, I, H), tmp_path / "model.onnx")


def test_a_clipped_cell(tmp_path: Path) -> None:
    """What ONNX calls a clip is one of the gates."""
    with pytest.raises(ValueError, match="ONNX clips no state c"):
        export(LSTM(I, H, cell_clip=1.0), tmp_path / "model.onnx")


def test_zoneout(tmp_path: Path) -> None:
    """A state that moves a part of the way at inference."""
    with pytest.raises(ValueError, match="ONNX has no zoneout"):
        export(GRU(I, H, zoneout=0.1), tmp_path / "model.onnx")
