"""The `onnx` package's own tests of the recurrent operators, and whole models around them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest

import onnx_nodes as nodes
from tolerances import assert_close, assert_same_bits

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
from unrolled.interop import onnx_backend as backend  # noqa: E402
from unrolled.interop.onnx import recurrent_nodes  # noqa: E402

RECURRENT = r"^test_(lstm|gru|rnn|simple_rnn)_"


def node_tests() -> list[Any]:
    """All of the package's tests of models with a recurrent node, by what is in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that its other tests compute at import
        loader = pytest.importorskip("onnx.backend.test.loader", reason="of the extra [onnx]")
        cases = loader.load_model_tests(kind="node")
    return [
        case
        for case in cases
        if case.model is not None and any(n.op_type in nodes.GATES for n in case.model.graph.node)
    ]


CASES = node_tests()


def test_all_of_them_are_there() -> None:
    covered = {node.op_type for case in CASES for node in case.model.graph.node}
    assert covered == {"LSTM", "GRU", "RNN"}
    assert len(CASES) >= 18


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node(case: Any) -> None:
    model = backend.prepare(case.model, "CPU")
    for inputs, expected in case.data_sets:
        outputs = model.run(inputs)
        assert len(outputs) == len(expected)
        for ours, theirs in zip(outputs, expected, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.atol)


def make_tagger(rng: np.random.Generator) -> tuple[Any, dict[str, np.ndarray]]:
    """Embedding, a bidirectional GRU of which only the final states are read, a matrix."""
    helper, sizes = onnx.helper, (5, 2, 4, 6)
    arrays = nodes.make_arrays(rng, "GRU", 2, sizes, without=("initial_h",))
    del arrays["X"]
    arrays |= {
        "table": rng.standard_normal((9, 4), np.float32),
        "head": rng.standard_normal((12, 3), np.float32),
        "shape": np.array([-1, 12]),
    }
    steps = [
        helper.make_node("Gather", ["table", "tokens"], ["X"]),
        helper.make_node(
            "GRU", ["X", "W", "R", "B"], ["", "last"], direction="bidirectional",
            hidden_size=6,
            linear_before_reset=1,
        ),
        helper.make_node("Transpose", ["last"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["rows", "shape"], ["joined"]),
        helper.make_node("Clip", ["joined", "", "one"], ["limited"]),
        helper.make_node("MatMul", ["limited", "head"], ["logits"]),
    ]  # fmt: skip
    arrays["one"] = np.array(0.5, np.float32)
    graph = helper.make_graph(
        steps,
        "tagger",
        [helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ("T", "B"))],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ("B", 3))],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), arrays


def test_a_whole_model() -> None:
    """An output that nobody reads is not the input that is missing elsewhere."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra [peers]")
    rng = np.random.default_rng(0)
    model, _ = make_tagger(rng)
    tokens = rng.integers(0, 9, (5, 2))
    prepared = backend.prepare(model)
    (logits,) = prepared.run([tokens])
    (expected,) = nodes.run_runtime(runtime, model, {"tokens": tokens})
    assert_close(logits, expected, K=5 * (4 + 6 + 3) + 12, kind="peer")
    assert_same_bits(prepared.run({"tokens": tokens}).logits, logits)
    assert_same_bits(backend.run_model(model, tokens)[0], logits)
    with pytest.raises(ValueError, match=r"expected the inputs \['tokens'\], got none for"):
        prepared.run({})
    for inputs in ([], [tokens, tokens]):
        with pytest.raises(ValueError, match=rf"inputs \['tokens'\], got {len(inputs)}"):
            prepared.run(inputs)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_torch_exports(kind: str) -> None:
    """Two layers both ways and a matrix, for any steps and batch; the layers can be trained."""
    torch = pytest.importorskip("torch", reason="torch comes with the extra [torch]")
    torch.manual_seed(0)

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(4, 6, 2, bidirectional=True, batch_first=True)
            self.head = torch.nn.Linear(12, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.rnn(x)[0])

    tagger, file = Tagger().eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, which has a successor with more needs
        torch.onnx.export(
            tagger, (torch.zeros(2, 3, 4),), file, dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "B", 1: "T"}},
        )  # fmt: skip
    model = onnx.load_model_from_string(file.getvalue())
    x = torch.randn(5, 7, 4)
    (y,) = backend.prepare(model).run([x.numpy()])
    assert_close(y, tagger(x).detach().numpy(), K=2 * 7 * (12 + 6 + 4) + 12, kind="peer")
    first, second = (node.layer for node in recurrent_nodes(model))
    hidden, _ = first(x.numpy().swapaxes(0, 1))
    hidden, _ = second(hidden)
    expected = tagger.rnn(x)[0].detach().numpy().swapaxes(0, 1)
    assert_close(hidden, expected, K=2 * 7 * (12 + 6 + 4), kind="peer")


def test_one_node() -> None:
    rng = np.random.default_rng(0)
    arrays = nodes.make_arrays(rng, "RNN", 1, (4, 2, 3, 5), without=("B", "initial_h"))
    node = onnx.helper.make_node("RNN", ["X", "W", "R"], ["Y"])
    x, w, r = (arrays[name] for name in "XWR")
    (y,) = backend.run_node(node, [x, w, r])
    h = np.zeros((2, 5))
    for t in range(4):
        h = np.tanh(x[t] @ w[0].T + h @ r[0].T)
    assert_close(y[-1, 0], h, K=4 * (3 + 5 + 1), kind="forward")
    with pytest.raises(ValueError, match=r"\[onnx\] RNN Y expected 3 inputs, got 2"):
        backend.run_node(node, [x, w])


def test_devices() -> None:
    assert backend.supports_device("CPU")
    assert backend.supports_device("CPU:0")
    assert not backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="expected the device CPU, got CUDA"):
        backend.prepare(make_tagger(np.random.default_rng(0))[0], "CUDA")


@pytest.mark.parametrize("sizes", [(-2, 18, 4), (2, 18, 10**12), (2, 19, 4)], ids=str)
def test_sizes_that_lie(sizes: tuple[int, ...]) -> None:
    model, _ = make_tagger(np.random.default_rng(0))
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "W")
    weight.dims[:] = sizes
    with pytest.raises(ValueError, match=r"it is no correct model: .*W"):
        backend.prepare(model)


def test_types_that_lie() -> None:
    model, _ = make_tagger(np.random.default_rng(0))
    model.graph.initializer[0].data_type = 99
    with pytest.raises(ValueError, match=r"it is no correct model"):
        backend.prepare(model)


def test_options_that_come_from_a_function() -> None:
    model, _ = make_tagger(np.random.default_rng(0))
    attribute = model.graph.node[1].attribute[0]
    attribute.ref_attr_name = "outer"
    with pytest.raises(ValueError, match=r"GRU last takes .* from the function around it"):
        backend.run_node(model.graph.node[1], [np.zeros((1, 1, 1), np.float32)] * 4)
