#!/usr/bin/env python3
"""The LSTM of silero-vad on real speech: our layer beside ONNX Runtime.

    pip install "unrolled[onnx,peers,speech]" silero-vad
    python benchmarks/bench_silero.py test.wav           # 16 kHz

The whole model runs once in ONNX Runtime, which gives what its LSTM reads and writes. Then both run
the LSTM alone, over the whole sound and step by step, one thread each, in turns; medians.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from unrolled import functional
from unrolled.audio import read_audio
from unrolled.bench._timing import measure
from unrolled.interop.onnx import RecurrentNode, recurrent_nodes

RATE, WINDOW, CONTEXT = 16_000, 512, 64
SECONDS = 4.0  # for each comparison


def model_file() -> Path:
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise SystemExit("this needs the package silero-vad: pip install --no-deps silero-vad")
    return Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx"


def session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def read_and_written(model: Any, node: RecurrentNode, samples: np.ndarray) -> list[np.ndarray]:
    """What the LSTM reads (T, 1, I) and writes (T, 1, 1, H) while the whole model runs."""
    count = len(samples) // WINDOW
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples[: count * WINDOW]])
    windows = np.stack([padded[WINDOW * t :][: WINDOW + CONTEXT] for t in range(count)])
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for name in (node.x, node.y):
        whole.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    zeros = np.zeros((1, 1, node.layer.hidden_size), np.float32)
    return session(whole).run([node.x, node.y], {"input": windows, "h": zeros, "c": zeros})  # type: ignore[no-any-return]


def lstm_alone(model: Any, node: RecurrentNode) -> Any:
    """A model of this one node, with its weights as constants."""
    alone = next(each for each in model.graph.node if node.y in each.output)
    value = onnx.helper.make_tensor_value_info
    inputs = [name for name in alone.input if name]
    constants = [each for each in model.graph.initializer if each.name in inputs]
    names = {each.name for each in constants}
    graph = onnx.helper.make_graph(
        [alone],
        "lstm",
        [value(name, onnx.TensorProto.FLOAT, None) for name in inputs if name not in names],
        [value(name, onnx.TensorProto.FLOAT, None) for name in alone.output if name],
        constants,
    )
    return onnx.helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sound", type=Path)
    samples = read_audio(parser.parse_args().sound, RATE)
    functional.set_num_threads(1)
    model = onnx.load(model_file())
    (node,) = recurrent_nodes(model)
    x, expected = read_and_written(model, node, samples)
    y, _ = node.layer(x)
    steps, hidden = len(x), node.layer.hidden_size
    print(f"{steps} steps of {WINDOW / RATE * 1e3:.0f} ms, {node.layer!r}")
    print(f"largest difference from ONNX Runtime: {np.abs(y - expected[:, 0]).max():.1e}")

    peer = session(lstm_alone(model, node))
    zeros = np.zeros((1, 1, hidden), np.float32)
    names = [each.name for each in peer.get_inputs()]

    def peer_whole() -> Any:
        return peer.run(None, dict(zip(names, (x, zeros, zeros), strict=True)))

    def peer_steps() -> None:
        h = c = zeros
        for x_t in x:
            _, h, c = peer.run(None, dict(zip(names, (x_t[None], h, c), strict=True)))

    stream, out = node.layer.stream(1), np.empty((1, hidden), np.float32)

    def our_steps() -> None:
        for x_t in x:
            stream(x_t, out=out)

    print(f"{'':24}{'unrolled':>12}{'onnxruntime':>14}{'ratio':>8}")
    for what, ours, theirs in (
        ("whole sound, ms", lambda: node.layer(x), peer_whole),
        ("step by step, ms", our_steps, peer_steps),
    ):
        times = measure({"ours": ours, "theirs": theirs}, seconds=SECONDS)
        mine, other = times["ours"].median, times["theirs"].median
        print(f"{what:24}{mine * 1e3:12.2f}{other * 1e3:14.2f}{other / mine:7.1f}x")


if __name__ == "__main__":
    main()
