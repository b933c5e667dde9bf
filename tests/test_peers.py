"""We compute what others compute: torch, ONNX Runtime, JAX and the node tests of ONNX.

Parameters are copied over; inputs, states, lengths and upstream gradients are the same. Each part
skips where its library is not installed (`pip install "unrolled[peers]"`).
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem
from tolerances import FACTORS, assert_close, eps
from unrolled import functional, reference

# (torch class, its arguments, activations of the ONNX operator of the same name)
PEERS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "rnn_tanh": ("RNN", {"nonlinearity": "tanh"}, ["Tanh"]),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}, ["Relu"]),
    "lstm": ("LSTM", {}, ["Sigmoid", "Tanh", "Tanh"]),
    "gru": ("GRU", {}, ["Sigmoid", "Tanh"]),
}
# ONNX orders the gates of the LSTM i o f g and those of the GRU z r n.
ONNX_GATES = {"lstm": "iofg", "gru": "zrn", "rnn_tanh": "h", "rnn_relu": "h"}
DIMS = [Dims(5, 4, 7, 9), Dims(7, 3, 1, 33), Dims(1, 1, 5, 16)]
MODES = {
    "forward": {},
    "reverse": {"reverse": True},
    "no_bias": {"biases": (False, False)},
    "ragged": {"ragged": True},
    "ragged_reverse": {"ragged": True, "reverse": True},
}


def optional(module: str) -> ModuleType:
    return pytest.importorskip(
        module, reason=f'{module} is not installed: pip install "unrolled[peers]"'
    )


def problem_for_peers(cell: str, dims: Dims, dtype: type, **mode: Any) -> Problem:
    """Without rows of length zero, which the peers refuse."""
    problem = make_problem(cell, dims, dtype, **mode)
    if "lengths" in problem.options:
        problem.options["lengths"] = np.maximum(problem.options["lengths"], 1)
    return problem


def compare(problem: Problem, got: dict[str, Any], peer: dict[str, Any]) -> None:
    """Compare every result that the peer has; arrays or tuples of arrays."""
    for key, expected in peer.items():
        pairs = [(got[key], expected)] if isinstance(expected, np.ndarray) else list(
            zip(got[key], expected, strict=True)
        )  # fmt: skip
        forward = key in ("y", "states")
        roundings = problem.forward_roundings if forward else problem.gradient_roundings
        for a, e in pairs:
            if e is None:
                assert a is None, key
            else:
                assert_close(a, e, K=roundings, kind="peer", dtype=problem.x.dtype, what=key)


# torch -------------------------------------------------------------------------------------------


def run_torch(problem: Problem) -> dict[str, Any]:
    """Forward and backward of torch's layer; reverse is taken from half of a bidirectional one."""
    torch = optional("torch")
    kind, arguments, _ = PEERS[problem.cell]
    steps, _, inputs = problem.x.shape
    hidden = problem.weights[1].shape[1]
    reverse, lengths = problem.options["reverse"], problem.options.get("lengths")
    layer = getattr(torch.nn, kind)(
        inputs, hidden, bias=problem.weights[2] is not None, bidirectional=reverse, **arguments
    ).to(torch.from_numpy(problem.x).dtype)
    names = [
        f"{n}_l0{'_reverse' * reverse}" for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    parameters = [getattr(layer, name, None) for name in names]
    with torch.no_grad():
        for parameter, weight in zip(parameters, problem.weights[:4], strict=True):
            if weight is not None:
                parameter.copy_(torch.from_numpy(weight))
    x = torch.from_numpy(problem.x).clone().requires_grad_()
    both = [np.repeat(s[None], 1 + reverse, axis=0) for s in problem.states]
    states = [torch.from_numpy(s).requires_grad_() for s in both]
    initial = tuple(states) if len(states) > 1 else states[0]
    if lengths is None:
        y, final = layer(x, initial)
    else:
        sequence = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.from_numpy(lengths), enforce_sorted=False
        )
        output, final = layer(sequence, initial)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(output, total_length=steps)
    y = y[:, :, -hidden:]
    finals = [s[-1] for s in (final if isinstance(final, tuple) else (final,))]
    total = (y * torch.from_numpy(problem.dy)).sum()
    for state, gradient in zip(finals, problem.dstates, strict=True):
        total = total + (state * torch.from_numpy(gradient)).sum()
    total.backward()
    return {
        "y": y.detach().numpy(),
        "states": tuple(s.detach().numpy() for s in finals),
        "dx": x.grad.numpy(),
        "dstates": tuple(s.grad[-1].numpy() for s in states),
        "grads": tuple(p.grad.numpy() for p in parameters if p is not None),
    }


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_torch(narrow_cell: str, dtype: type, dims: Dims, mode: dict) -> None:
    problem = problem_for_peers(narrow_cell, dims, dtype, **mode)
    peer = run_torch(problem)
    compare(problem, problem.vjp(), peer)
    compare(problem, problem.reference(), peer)


@pytest.mark.parametrize("decoupled", [True, False], ids=["AdamW", "Adam"])
def test_torch_adam(dtype: type, decoupled: bool, rng: np.random.Generator) -> None:
    torch = optional("torch")
    params, grads = (rng.standard_normal(50).astype(dtype) for _ in range(2))
    m, v = np.zeros_like(params), np.zeros_like(params)
    theirs = torch.from_numpy(params.copy()).requires_grad_()
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([theirs], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for step in range(1, 6):
        theirs.grad = torch.from_numpy(grads * step)
        optimizer.step()
        functional.adam_step(
            params, (grads * step).astype(dtype), m, v, lr=1e-2, beta1=0.9, beta2=0.99, eps=1e-8,
            weight_decay=0.1, decoupled=decoupled, step=step,
        )  # fmt: skip
    assert_close(params, theirs.detach().numpy(), K=5, kind="elementwise", what="params")


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_torch_sgd(dtype: type, momentum: float, nesterov: bool, rng: np.random.Generator) -> None:
    torch = optional("torch")
    params, grads = (rng.standard_normal(50).astype(dtype) for _ in range(2))
    velocity = np.zeros_like(params) if momentum else None
    theirs = torch.from_numpy(params.copy()).requires_grad_()
    options = {"lr": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.1}
    optimizer = torch.optim.SGD([theirs], **options)
    for _ in range(4):
        theirs.grad = torch.from_numpy(grads)
        optimizer.step()
        functional.sgd_step(params, grads, velocity, **options)
    assert_close(params, theirs.detach().numpy(), K=4, kind="elementwise", what="params")


def test_torch_cross_entropy(dtype: type, rng: np.random.Generator) -> None:
    torch = optional("torch")
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((30, 12), (50, 12), (50,))]
    targets = rng.integers(-1, 50, 30)
    x, weight, bias = (torch.from_numpy(a).clone().requires_grad_() for a in arrays)
    losses = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(x, weight, bias),
        torch.from_numpy(targets),
        ignore_index=-1,
        reduction="none",
    )
    (0.25 * losses.sum()).backward()
    peer = (losses.detach(), x.grad, weight.grad, bias.grad)
    got = functional.linear_cross_entropy_vjp(*arrays, targets, 0.25)
    for a, e in zip(got, peer, strict=True):
        assert_close(a, e.numpy(), K=12 + 50 + 30, kind="peer")


# ONNX --------------------------------------------------------------------------------------------


def onnx_order(cell: str, array: np.ndarray) -> np.ndarray:
    """Rows by gate, from torch's order to that of ONNX."""
    gates = reference.CELLS[cell].gates
    parts = dict(zip(gates, np.split(array, len(gates)), strict=True))
    return np.concatenate([parts[gate] for gate in ONNX_GATES[cell]])


def torch_order(cell: str, array: np.ndarray) -> np.ndarray:
    parts = dict(zip(ONNX_GATES[cell], np.split(array, len(ONNX_GATES[cell])), strict=True))
    return np.concatenate([parts[gate] for gate in reference.CELLS[cell].gates])


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_onnxruntime(narrow_cell: str, dims: Dims, mode: dict) -> None:
    problem = problem_for_peers(narrow_cell, dims, np.float32, **mode)
    runtime, onnx = optional("onnxruntime"), optional("onnx")
    operator, _, activations = PEERS[narrow_cell]
    w_ih, w_hh, b_ih, b_hh = problem.weights[:4]
    feeds = {
        "X": problem.x,
        "W": onnx_order(narrow_cell, w_ih)[None],
        "R": onnx_order(narrow_cell, w_hh)[None],
        "lengths": problem.options.get("lengths", np.full(dims.B, dims.T)).astype(np.int32),
    }
    if b_ih is not None:
        feeds["B"] = np.concatenate([onnx_order(narrow_cell, b_ih), onnx_order(narrow_cell, b_hh)])[
            None
        ]
    for name, state in zip(("h0", "c0"), problem.states, strict=False):
        feeds[name] = state[None]
    slots = ["X", "W", "R", "B", "lengths", "h0", "c0"][: 5 + len(problem.states)]
    outputs = ["Y", "hT", "cT"][: 1 + len(problem.states)]
    extra = {"linear_before_reset": 1} if narrow_cell == "gru" else {}
    node = onnx.helper.make_node(
        operator,
        [name if name in feeds else "" for name in slots],
        outputs,
        hidden_size=dims.H,
        direction="reverse" if problem.options["reverse"] else "forward",
        activations=activations,
        **extra,
    )
    as_info = onnx.helper.make_tensor_value_info
    types = {
        np.dtype(np.float32): onnx.TensorProto.FLOAT,
        np.dtype(np.int32): onnx.TensorProto.INT32,
    }
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [as_info(name, types[array.dtype], array.shape) for name, array in feeds.items()],
        [as_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
    )
    model = onnx.helper.make_model(
        graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 14)]
    )
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, *states = session.run(None, feeds)
    peer = {"y": y[:, 0], "states": tuple(s[0] for s in states)}
    got = problem.scan()
    compare(problem, {"y": got[0], "states": got[1]}, peer)


def onnx_node_tests() -> list[Any]:
    """ONNX's own cases for these operators; importing a file of the package registers its cases."""
    optional("onnx")
    node = importlib.import_module("onnx.backend.test.case.node")
    for name in ("rnn", "lstm", "gru"):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    return [
        c for c in node._NodeTestCases if c.model.graph.node[0].op_type in ("RNN", "LSTM", "GRU")
    ]


def test_onnx_node_tests() -> None:
    """Every case of RNN and LSTM without peepholes, and of GRU where reset-before and -after agree.

    They do for one step from a zero state without recurrent bias; the cases of the GRU are
    reset-before, ours is reset-after.
    """
    run = []
    for case in onnx_node_tests():
        node = case.model.graph.node[0]
        inputs = dict(zip([n for n in node.input if n], case.data_sets[0][0], strict=True))
        attributes = {a.name: a.i or a.s.decode() for a in node.attribute}
        x, w, r = inputs["X"], inputs["W"], inputs["R"]
        if attributes.get("layout", 0):
            x = x.transpose(1, 0, 2)
        hidden = r.shape[-1]
        cell = {"RNN": "rnn_tanh"}.get(node.op_type, node.op_type.lower())
        biases = inputs.get("B", np.zeros((len(w), 2 * w.shape[1])))
        one_step = len(x) == 1 and not biases[:, w.shape[1] :].any()
        if inputs.get("P", np.zeros(1)).any() or (cell == "gru" and not one_step):
            continue
        directions = []
        for d in range(len(w)):
            b_ih, b_hh = (torch_order(cell, b) for b in np.split(biases[d], 2))
            backwards = d == 1 or attributes.get("direction") == "reverse"
            y, states = reference.scan(
                cell, x, None, torch_order(cell, w[d]), torch_order(cell, r[d]), b_ih, b_hh,
                reverse=backwards,
            )  # fmt: skip
            directions.append((y, *states))
        y, *states = (np.stack(parts) for parts in zip(*directions, strict=True))
        results = {"Y": y.transpose(1, 0, 2, 3), "Y_h": states[0], "Y_c": states[-1]}
        if attributes.get("layout", 0):
            results["Y"] = results["Y"].transpose(2, 0, 1, 3)
            results["Y_h"] = results["Y_h"].transpose(1, 0, 2)
        names = [name for name in node.output if name]
        for name, expected in zip(names, case.data_sets[0][1], strict=True):
            # The cases are stored in float32, with values of order 10 in their sums.
            np.testing.assert_allclose(
                results[name],
                expected,
                rtol=0,
                atol=10 * FACTORS["peer"] * eps(np.float32) * hidden,
                err_msg=case.name,
            )
        run.append(case.name)
    assert len(run) >= 13, run


def test_onnx_gru_with_linear_before_reset(rng: np.random.Generator) -> None:
    optional("onnx")
    helper = importlib.import_module("onnx.backend.test.case.node.gru").GRUHelper
    problem = make_problem("gru", Dims(6, 3, 4, 5), np.float64)
    w_ih, w_hh, b_ih, b_hh = (onnx_order("gru", w)[None] for w in problem.weights[:4])
    y, h = helper(
        X=problem.x, W=w_ih, R=w_hh, B=np.concatenate([b_ih, b_hh], axis=1),
        initial_h=problem.states[0][None], linear_before_reset=1,
    ).step()  # fmt: skip
    compare(problem, problem.reference(), {"y": y[:, 0], "states": (h[0],)})


# JAX ---------------------------------------------------------------------------------------------


def jax_step(jnp: Any, cell: str, a: Any, r: Any, states: tuple) -> tuple:
    """The gate equations once more, for automatic differentiation."""
    sigmoid = lambda v: 1.0 / (1.0 + jnp.exp(-v))  # noqa: E731
    if cell == "rnn_tanh":
        return (jnp.tanh(a + r),)
    if cell == "rnn_relu":
        return (jnp.maximum(a + r, 0.0),)
    if cell == "lstm":
        i, f, g, o = jnp.split(a + r, 4, axis=1)
        c = sigmoid(f) * states[1] + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c
    (a_r, a_z, a_n), (r_r, r_z, r_n) = jnp.split(a, 3, axis=1), jnp.split(r, 3, axis=1)
    z, n = sigmoid(a_z + r_z), jnp.tanh(a_n + sigmoid(a_r + r_r) * r_n)
    return ((1.0 - z) * n + z * states[0],)


def test_jax(narrow_cell: str) -> None:
    """Lengths, resets and direction through `lax.scan` with masks, gradients by `jax.vjp`."""
    jax = optional("jax")
    jnp = jax.numpy
    problem = problem_for_peers(
        narrow_cell, Dims(6, 5, 4, 7), np.float64, ragged=True, resets=True, reverse=True
    )
    resets = jnp.asarray(problem.options["resets"])
    live = jnp.asarray(np.arange(6)[:, None] < problem.options["lengths"])

    def run(x: Any, states: tuple, weights: tuple) -> tuple:
        w_ih, w_hh, b_ih, b_hh = weights

        def step(states: tuple, inputs: tuple) -> tuple:
            x_t, reset, alive = inputs
            before = tuple(jnp.where(reset[:, None], 0.0, s) for s in states)
            after = jax_step(
                jnp, narrow_cell, x_t @ w_ih.T + b_ih, before[0] @ w_hh.T + b_hh, before
            )
            after = tuple(
                jnp.where(alive[:, None], n, o) for n, o in zip(after, states, strict=True)
            )
            return after, jnp.where(alive[:, None], after[0], 0.0)

        final, y = jax.lax.scan(step, states, (x, resets, live), reverse=True)
        return y, final

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (problem.x, problem.states, problem.weights[:4]))
        (y, states), pullback = jax.vjp(run, *arguments)
        dx, dstates, grads = pullback(
            (jnp.asarray(problem.dy), tuple(map(jnp.asarray, problem.dstates)))
        )
        peer = jax.tree.map(
            np.asarray, {"y": y, "states": states, "dx": dx, "dstates": dstates, "grads": grads}
        )
    compare(problem, problem.vjp(), peer)
    compare(problem, problem.reference(), peer)
