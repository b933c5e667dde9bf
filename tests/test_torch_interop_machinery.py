"""What torch does around modules (compiling, tracing, hooks, casts) works with replaced ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "unrolled[torch]"')

from torch_layers import (  # noqa: E402 - needs torch
    CELLS,
    LAYERS,
    H,
    I,
    fast,
    flat,
    kernels_alone,
    make_pair,
    tensors,
    torch_alone,
)

T, B = 6, 3
PLAIN = [name for name in LAYERS if name != "lstm_projected"]
close = torch.testing.assert_close


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    return tensors(rng, np.float64, (T, B, I))[0]


def doubles(kind: tuple[str, dict[str, Any]], *args: Any) -> tuple[Any, Any]:
    return make_pair(kind, *args, dtype=torch.float64)


def assert_same_training(theirs: Any, ours: Any, *args: Any) -> None:
    """Outputs and gradients of parameters."""
    for module in (theirs, ours):
        module.zero_grad()
        flat(module(*args))[0].square().sum().backward()
    close(flat(ours(*args)), flat(theirs(*args)))
    close([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


class Tagger(torch.nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.is_cell = isinstance(layer, torch.nn.GRUCell)
        self.layer, self.head = layer, torch.nn.Linear(H, 2, dtype=torch.float64)

    def forward(self, x: Any) -> Any:
        y = self.layer(x * 2)
        return self.head(y if self.is_cell else y[0]).relu()


@pytest.fixture
def compiling() -> Iterator[Any]:
    dynamo = pytest.importorskip("torch._dynamo", reason="this torch does not compile")
    dynamo.reset()
    yield dynamo
    dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("compiling")
def test_compiled_models_run_layers_in_the_kernels(x: Any) -> None:
    """Between their graphs, where those of torch run as well; forward and backward."""
    _, layer = doubles(("LSTM", {}), I, H, 2)
    model = Tagger(layer)
    compiled = torch.compile(model, backend="eager")
    wanted = model(x)
    with kernels_alone():
        for _ in range(2):
            model.zero_grad()
            y = compiled(x)
            y.sum().backward()
            close(y, wanted)
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    close(got, [p.grad for p in model.parameters()])
    with torch.no_grad(), kernels_alone():
        close(torch.compile(layer, backend="eager")(x)[0], layer(x)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The tensor attributes self._flat_weights"
)  # torch's own layers'
def test_graphs_hold_what_torch_puts_into_them(x: Any, compiling: Any) -> None:
    """Cells always, layers where torch is told to; exported programs both."""
    _, cell = doubles(("GRUCell", {}))
    _, layer = doubles(("LSTM", {}))
    with torch_alone(), compiling.config.patch(allow_rnn=True):
        whole = torch.compile(Tagger(layer), backend="eager", fullgraph=True)(x)
        step = torch.compile(cell, backend="eager", fullgraph=True)(x[0])
        exported = torch.export.export(layer, (x,)).module()(x)
    assert whole.shape == (T, B, 2)
    close(step, cell(x[0]))
    close(exported, layer(x))


@pytest.mark.parametrize("kind", [("LSTM", {}), ("GRUCell", {})], ids=str)
def test_symbolic_traces_have_a_node_for_each_module(kind: Any, x: Any) -> None:
    _, ours = doubles(kind)
    x = x[0] if kind[0].endswith("Cell") else x
    model = Tagger(ours)
    traced = torch.fx.symbolic_trace(model)
    nodes = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert nodes == ["layer", "head"]
    with kernels_alone():
        close(traced(x), model(x))


@pytest.mark.parametrize("name", LAYERS)
def test_many_gradients_at_once(name: str, x: Any) -> None:
    theirs, ours = doubles(LAYERS[name])
    found = []
    for module in (theirs, ours):
        leaf = x.clone().requires_grad_()
        sums = module(leaf)[0].sum((1, 2))
        inputs, each = [leaf, *module.parameters()], torch.eye(T, dtype=torch.float64)
        found.append(
            [
                torch.autograd.grad(sums, inputs, each, retain_graph=True, is_grads_batched=True),
                torch.func.vmap(
                    lambda v, s=sums, a=inputs: torch.autograd.grad(s, a, v, retain_graph=True)
                )(each),
            ]
        )
    close(found[1], found[0])


@pytest.mark.parametrize("cell", CELLS)
def test_jacobians_of_cells(cell: str, x: Any) -> None:
    found = [
        torch.autograd.functional.jacobian(
            lambda x, module=module: flat(module(x))[0].sum(1), x[0], vectorize=True
        )
        for module in doubles(CELLS[cell])
    ]
    close(found[1], found[0])


def replica(module: Any) -> Any:
    """As `torch.nn.parallel.replicate` makes it, on the CPU."""
    copied = module._replicate_for_data_parallel()
    copied._former_parameters = OrderedDict()
    for name, parameter in module._parameters.items():
        copied._former_parameters[name] = parameter.clone()
        setattr(copied, name, copied._former_parameters[name])
    return copied


@pytest.mark.parametrize("kind", [("LSTM", {}), ("GRU", {}), ("RNNCell", {})], ids=str)
def test_replicas_give_gradients_to_the_module(kind: Any, x: Any) -> None:
    theirs, ours = doubles(kind)
    x = x[0] if kind[0].endswith("Cell") else x
    for module in (theirs, ours):
        for scale in (1, 2):  # of the parameters, which change between
            flat(replica(module)(x * scale))[0].square().sum().backward()
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(1.5)
    close([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])
    with kernels_alone(), torch.no_grad():
        close(flat(replica(ours)(x)), flat(ours(x)))


def test_hooks_see_what_they_see_in_torch(x: Any) -> None:
    theirs, ours = doubles(("LSTM", {}))
    seen: list[list[Any]] = []
    for module in (theirs, ours):
        own: list[Any] = []
        module.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
        module.register_forward_hook(lambda module, args, output: (output[0] * 3, output[1]))
        module.register_full_backward_pre_hook(
            lambda module, grads: tuple(None if g is None else g / 2 for g in grads)
        )
        module.register_full_backward_hook(
            lambda module, dx, dy, own=own: own.extend([dx[0], dy[0]])
        )
        leaf = x.clone().requires_grad_()
        y, (h, _) = module(leaf)
        y.register_hook(own.append)
        (y.sum() + h.square().sum()).backward()
        seen.append([*own, leaf.grad, *(p.grad for p in module.parameters())])
    close(seen[1], seen[0])


def test_state_dicts_of_other_kinds(x: Any) -> None:
    """Assigned, not strict, and changed by hooks."""
    theirs, ours = doubles(("LSTM", {}))
    twice = {name: value * 2 for name, value in theirs.state_dict().items()}
    for module in (theirs, ours):
        module(x)
        module.load_state_dict(twice, assign=True)
    assert_same_training(theirs, ours, x)
    for module in (theirs, ours):
        module.register_load_state_dict_pre_hook(
            lambda module, state, *rest: state.update(bias_ih_l0=state.pop("bias"))
        )
        result = module.load_state_dict(
            {"bias": torch.ones(4 * H), "unheard_of": torch.ones(1)}, strict=False
        )
        assert result.unexpected_keys == ["unheard_of"]
        assert len(result.missing_keys) == 3
    assert_same_training(theirs, ours, x)


@pytest.mark.parametrize("kind", [("LSTM", {}), ("GRUCell", {})], ids=str)
def test_parameters_that_are_swapped(kind: Any, x: Any) -> None:
    """Which torch does on request, where nothing refers to them weakly."""
    _, ours = make_pair(kind)
    x = x[0] if kind[0].endswith("Cell") else x
    ours(x.float())
    try:
        torch.__future__.set_swap_module_params_on_conversion(True)
        ours.double()
        with torch.no_grad():
            y = flat(ours(x))[0]
        assert y.dtype is torch.float64
        if kind[0].endswith("Cell"):  # torch's layers refer to their own
            ours.load_state_dict({name: 2 * value for name, value in ours.state_dict().items()})
            assert not torch.equal(flat(ours(x))[0], y)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("name", PLAIN)
def test_outputs_that_are_overwritten(name: str, x: Any) -> None:
    """The backward pass reads none of them, where torch's LSTM refuses."""
    theirs, ours = doubles(LAYERS[name], I, H, 2)
    (theirs(x)[0] * 2).sum().backward()
    y, _ = ours(x)
    y.mul_(2)
    y.sum().backward()
    close([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


class Doubled(torch.nn.Module):
    def forward(self, weight: Any) -> Any:
        return weight * 2


@pytest.mark.parametrize("parameter", ["weight_hh_l0", "bias_ih_l1"])
def test_parametrizations_registered_and_removed(parameter: str, x: Any) -> None:
    parametrize = torch.nn.utils.parametrize
    theirs, ours = doubles(("GRU", {}), I, H, 2)
    for module in (theirs, ours):
        parametrize.register_parametrization(module, parameter, Doubled())
    assert_same_training(theirs, ours, x)
    with parametrize.cached():
        assert_same_training(theirs, ours, x)
    for module in (theirs, ours):
        parametrize.remove_parametrizations(module, parameter)
    assert type(ours) is fast.GRU
    assert_same_training(theirs, ours, x)


def test_parameters_of_any_layout(x: Any) -> None:
    theirs, ours = doubles(("LSTM", {}))
    with torch.no_grad():
        ours.weight_hh_l0 = torch.nn.Parameter(theirs.weight_hh_l0.t().contiguous().t())
    assert not ours.weight_hh_l0.is_contiguous()
    assert_same_training(theirs, ours, x)
    for module in (theirs, ours):
        with torch.no_grad():
            module.weight_hh_l0[0, 0] += 1
    assert_same_training(theirs, ours, x)
