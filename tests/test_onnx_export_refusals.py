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


def test_models(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    refused: list[tuple[Layer, dict[str, Any], str]] = [
        (Seq2Seq(7, 9, embedding_size=4, hidden_size=6), {}, "Seq2Seq is not exported: its dec"),
        (Dropout(0.5), {}, "Dropout is not exported: there is no graph for it; expected one of"),
        (Linear(2, 3), {"state": True}, "a graph of Linear has no state"),
        (SequenceModel(2, 3), {"state": True}, "a graph of SequenceModel has no state"),
        (LanguageModel(9), {"lengths": True}, "a graph of LanguageModel has no lengths"),
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
