"""Our drop-ins are torch modules like torch's own: files, copies, hooks, changes of parameters."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import unrolled
from processes import run_python
from tolerances import assert_same_bits
from torch_layers import (
    CELLS,
    LAYERS,
    H,
    I,
    fast,
    flat,
    kernels_alone,
    make_pair,
    tensors,
    torch,
    torch_alone,
)

pytestmark = pytest.mark.usefixtures("one_thread")

T, B = 4, 3
KINDS = {**LAYERS, **{f"{name}_cell": kind for name, kind in CELLS.items()}}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return KINDS[request.param]


def input_of(module: Any, rng: np.random.Generator, dtype: Any = np.float32) -> Any:
    is_cell = isinstance(module, torch.nn.RNNCellBase)
    return tensors(rng, dtype, (B, I) if is_cell else (T, B, I))[0]


def run(module: Any, x: Any) -> list[Any]:
    """Outputs without autograd, by our kernels."""
    with torch.no_grad(), kernels_alone():
        return flat(module(x))


def test_constructors_and_state_dicts_are_those_of_torch(kind: tuple[str, dict]) -> None:
    name, options = kind
    theirs, ours = make_pair(kind, bias=False)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    positional = (I, H, False, "relu") if name == "RNNCell" else (I, H, 2, "relu", False)
    if "nonlinearity" in options:
        assert repr(getattr(fast, name)(*positional)) == repr(getattr(torch.nn, name)(*positional))
    theirs, ours = make_pair(kind)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.zero_()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(parameter, other)


@pytest.mark.parametrize("bad", [{"dropout": 2.0}, {"hidden_size": 0}, {"proj_size": H}])
def test_constructors_refuse_what_torch_refuses(bad: dict[str, Any]) -> None:
    arguments = {"input_size": I, "hidden_size": H, **bad}
    with pytest.raises(ValueError) as wanted:
        torch.nn.LSTM(**arguments)
    with pytest.raises(ValueError) as got:
        fast.LSTM(**arguments)
    assert str(got.value) == str(wanted.value)
    with pytest.raises(ValueError, match="proj_size"):
        fast.GRU(I, H, proj_size=2)


def test_copies_and_pickles_are_modules_of_their_own(
    kind: tuple[str, dict], rng: np.random.Generator
) -> None:
    _, ours = make_pair(kind)
    x = input_of(ours, rng)
    fresh = pickle.dumps(ours)
    wanted = run(ours, x)
    assert len(pickle.dumps(ours)) == len(fresh), "the packed weights went into the file"
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(other) is type(ours)
        assert_same_bits(run(other, x), wanted)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert_same_bits(run(ours, x), wanted)
        assert not torch.equal(run(other, x)[0], wanted[0])


@pytest.mark.parametrize("batch_first", [False, True])
def test_activations_are_not_copied(
    batch_first: bool, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """The kernels read x and dy and write y and dx where torch has them."""
    seen: dict[str, np.ndarray] = {}
    scan_vjp, scan_backward = unrolled.functional.scan_vjp, unrolled.functional.scan_backward

    def watched(weights: Any, x: Any, *args: Any, **options: Any) -> Any:
        seen.update(x=x, y=options["out"])
        return scan_vjp(weights, x, *args, **options)

    def watched_backward(saved: Any, dy: Any, *args: Any, **options: Any) -> Any:
        seen.update(dy=dy, dx=options["dx"])
        return scan_backward(saved, dy, *args, **options)

    monkeypatch.setattr(unrolled.functional, "scan_vjp", watched)
    monkeypatch.setattr(unrolled.functional, "scan_backward", watched_backward)
    _, ours = make_pair(("LSTM", {}), batch_first=batch_first)
    x = input_of(ours, rng).requires_grad_()
    y, _ = ours(x)
    dy = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    for name, tensor in {"x": x, "y": y, "dy": dy, "dx": dx}.items():
        assert np.shares_memory(seen[name], tensor.detach().numpy()), name


def test_memory_of_the_forward_pass_goes_with_the_graph(rng: np.random.Generator) -> None:
    _, ours = make_pair(("LSTM", {}))
    y, _ = ours(input_of(ours, rng))
    tape = weakref.ref(y.grad_fn.saved_tensors[0].tape)
    assert tape() is not None
    y.sum().backward()
    gc.collect()
    assert tape() is None, "kept although the graph is freed"


def test_input_that_is_overwritten_before_the_backward_pass(rng: np.random.Generator) -> None:
    _, ours = make_pair(("LSTM", {}))
    x = input_of(ours, rng)
    y, _ = ours(x)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_gradients_only_where_they_are_wanted(rng: np.random.Generator) -> None:
    theirs, ours = make_pair(("GRU", {}), dtype=torch.float64)
    x = input_of(ours, rng, np.float64)
    for module in (theirs, ours):
        module.weight_hh_l0.requires_grad_(False)
        module.bias_ih_l0.requires_grad_(False)
        module(x)[0].sum().backward()
    assert ours.weight_hh_l0.grad is None
    assert ours.bias_ih_l0.grad is None
    torch.testing.assert_close(ours.weight_ih_l0.grad, theirs.weight_ih_l0.grad)
    for module in (theirs, ours):
        module.requires_grad_(False)
    assert not ours(x)[0].requires_grad
    x.requires_grad_()
    (dx,) = torch.autograd.grad(ours(x)[0].sum(), x)
    (wanted,) = torch.autograd.grad(theirs(x)[0].sum(), x)
    torch.testing.assert_close(dx, wanted)


def test_backward_again_and_again(rng: np.random.Generator) -> None:
    """With the graph kept, under checkpointing, and with hooks that copy what is saved."""
    _, ours = make_pair(("LSTM", {}), I, H, 2)
    x = input_of(ours, rng)
    y, _ = ours(x)
    y.sum().backward(retain_graph=True)
    wanted = [parameter.grad.clone() for parameter in ours.parameters()]

    def check() -> None:
        assert_same_bits([parameter.grad for parameter in ours.parameters()], wanted)
        ours.zero_grad()

    check()
    y.sum().backward()
    check()
    with kernels_alone():
        torch.utils.checkpoint.checkpoint(ours, x, use_reentrant=False)[0].sum().backward()
    check()
    with (
        kernels_alone(),
        torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t),
    ):
        y, _ = ours(x)
        y.sum().backward()
    check()


def _differentiate_forwards(module: Any, x: Any) -> Any:
    return torch.func.jvp(lambda x: module(x)[0], (x,), (torch.ones_like(x),))[1]


def _dual(module: Any, x: Any) -> Any:
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level(), torch.no_grad():
        y = module(forward_ad.make_dual(x, torch.ones_like(x)))[0]
        return forward_ad.unpack_dual(y).tangent


OTHERS: dict[str, tuple[dict[str, Any], Any]] = {
    "bfloat16": ({"dtype": torch.bfloat16}, lambda module, x: module(x.bfloat16())[0]),
    "no rows": ({}, lambda module, x: module(x[:, :0])[0]),
    "gradient transform": (
        {"dtype": torch.float64},
        lambda module, x: torch.func.grad(lambda x: module(x)[0].sum())(x.double()),
    ),
    "tangents": ({"dtype": torch.float64}, lambda m, x: _differentiate_forwards(m, x.double())),
    "dual numbers": ({"dtype": torch.float64}, lambda module, x: _dual(module, x.double())),
    "shapes alone": (
        {"device": "meta"},
        lambda m, x: torch.empty(m(x.to("meta"))[0].shape).zero_(),
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("options", "call"), OTHERS.values(), ids=OTHERS)
def test_the_rest_runs_in_torch(
    options: dict[str, Any], call: Any, rng: np.random.Generator
) -> None:
    theirs, ours = make_pair(("LSTM", {}), **options)
    x = input_of(ours, rng)
    with torch_alone():
        assert torch.equal(call(ours, x), call(theirs, x))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projection_under_autocast_runs_in_torch(rng: np.random.Generator) -> None:
    theirs, ours = make_pair(LAYERS["lstm_projected"])
    x = input_of(ours, rng)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch_alone():
        assert torch.equal(ours(x)[0], theirs(x)[0])


def test_tensors_of_a_class_of_their_own_run_in_torch(rng: np.random.Generator) -> None:
    class Watched(torch.Tensor):
        """A tensor that somebody else wants to see in every operation."""

    theirs, ours = make_pair(("GRU", {}))
    x = input_of(ours, rng).as_subclass(Watched)
    with torch_alone():
        assert torch.equal(ours(x)[0], theirs(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traces_are_of_torch(rng: np.random.Generator) -> None:
    _, ours = make_pair(("GRU", {}))
    x = input_of(ours, rng)
    with torch_alone():
        traced = torch.jit.trace(ours, x, check_trace=False)
    other = torch.flip(x, (0,))
    torch.testing.assert_close(traced(other)[0], ours(other)[0])


@pytest.mark.usefixtures("threads")
def test_threads_are_those_of_torch(rng: np.random.Generator) -> None:
    _, ours = make_pair(("GRU", {}))
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            run(ours, input_of(ours, rng))
            assert unrolled.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_several_callers_step_at_once(rng: np.random.Generator) -> None:
    _, ours = make_pair(("LSTM", {}), I, H, 2)
    (x,) = tensors(rng, np.float32, (8, 200, B, I))
    results: list[Any] = [None] * len(x)

    def steps(caller: int) -> None:
        state, outputs = None, []
        with torch.inference_mode():
            for x_t in x[caller].split(1):
                y, state = ours(x_t, state)
                outputs.append(y)
        results[caller] = torch.cat(outputs)

    callers = [threading.Thread(target=steps, args=(k,)) for k in range(len(x))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for k, got in enumerate(results):
        assert_same_bits([got], [run(ours, x[k])[0]])


def test_what_to_install() -> None:
    result = run_python(
        """
        import sys
        sys.modules["torch"] = None
        try:
            import unrolled.interop.torch
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install "unrolled[torch]"' in result.stdout, result.stderr
