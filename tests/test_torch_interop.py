"""Our drop-ins compute what torch's layers and cells compute: outputs, states and all gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from torch_layers import (
    CELLS,
    LAYERS,
    H,
    I,
    assert_layers_agree,
    flat,
    gradients,
    kernels_alone,
    make_pair,
    tensors,
    torch,
    torch_alone,
)
from unrolled import functional

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

T, B = 6, 4
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
LENGTHS = {"sorted": [6, 4, 4, 1], "unsorted": [3, 6, 1, 4], "full": [6, 6, 6, 6]}
OPTIONS = {
    "one": {},
    "two-nobias": {"num_layers": 2, "bias": False},
    "both-ways-rows": {"bidirectional": True, "batch_first": True},
    "three-both-ways-rows-dropout": {
        "num_layers": 3,
        "bidirectional": True,
        "batch_first": True,
        "dropout": 0.4,
    },
    "two-dropout": {"num_layers": 2, "dropout": 0.4},
}


@pytest.fixture(params=LAYERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def states_for(
    rng: np.random.Generator, name: str, module: Any, *batch: int, dtype: Any = np.float64
) -> list[Any]:
    scans = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [module.proj_size or module.hidden_size]
    sizes += [module.hidden_size] if module.mode == "LSTM" else []
    return tensors(rng, dtype, *[(scans, *batch, size) for size in sizes])


def as_hx(states: list[Any]) -> Any:
    return states[0] if len(states) == 1 else tuple(states)


@pytest.mark.parametrize("form", ["padded", "unbatched", *LENGTHS])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_layer(
    name: str, options: dict[str, Any], form: str, dtype: Any, rng: np.random.Generator
) -> None:
    """With and without initial states; with dropout the masks are torch's, seed for seed."""
    theirs, ours = make_pair(LAYERS[name], **options, dtype=getattr(torch, np.dtype(dtype).name))
    first = ours.batch_first
    batch = () if form == "unbatched" else (B,)
    (x,) = tensors(rng, dtype, (*batch, T, I) if first else (T, *batch, I))
    initial = states_for(rng, name, ours, *batch, dtype=dtype)
    for given in (initial, []):
        results = []
        for module in (theirs, ours):
            inputs = [tensor.clone().requires_grad_() for tensor in (x, *given)]
            data = inputs[0]
            if form in LENGTHS:
                data = torch.nn.utils.rnn.pack_padded_sequence(
                    data, torch.tensor(LENGTHS[form]), first, enforce_sorted=form != "unsorted"
                )
            torch.manual_seed(3)
            hx = as_hx(inputs[1:]) if given else None
            if module is ours:
                with kernels_alone():
                    outputs = flat(module(data, hx))
            else:
                outputs = flat(module(data, hx))
            results.append((outputs, gradients(module, inputs, outputs, seed=1)))
        (wanted, wanted_grads), (got, got_grads) = results
        assert_layers_agree(got, wanted, ours, T, B, "forward")
        assert_layers_agree(got_grads, wanted_grads, ours, T, B, "gradient")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_inference_has_the_bits_of_training(
    name: str, options: dict[str, Any], rng: np.random.Generator
) -> None:
    """Over sequences, packed sequences, and step by step where the layer can."""
    _, ours = make_pair(LAYERS[name], **options)
    ours.eval()
    first = ours.batch_first
    (x,) = tensors(rng, np.float32, (B, T, I) if first else (T, B, I))
    hx = as_hx(states_for(rng, name, ours, B, dtype=np.float32))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(LENGTHS["unsorted"]), first, enforce_sorted=False
    )
    for data in (x, packed):
        trained = [tensor.detach() for tensor in flat(ours(data, hx))]
        with kernels_alone(), torch.no_grad():
            assert_same_bits(flat(ours(data, hx)), trained)
        with kernels_alone(), torch.inference_mode():
            assert_same_bits(flat(ours(data, hx)), trained)
    if ours.bidirectional:
        return
    whole, final = ours(x, hx)
    with kernels_alone(), torch.no_grad():
        parts, state = [], hx
        for x_t in x.split(1, 1 if first else 0):
            y_t, state = ours(x_t, state)
            parts.append(y_t)
    assert_same_bits(torch.cat(parts, 1 if first else 0), whole.detach())
    assert_same_bits(flat(state), [tensor.detach() for tensor in flat(final)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_cell(cell: str, batched: bool, bias: bool, dtype: Any, rng: np.random.Generator) -> None:
    """Three steps in a row, with autograd and without."""
    theirs, ours = make_pair(CELLS[cell], bias=bias, dtype=getattr(torch, np.dtype(dtype).name))
    rows = (B,) if batched else ()
    x, *states = tensors(rng, dtype, (3, *rows, I), *[(*rows, H)] * (1 + (cell == "lstm")))
    results = []
    for module in (theirs, ours):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, *states)]
        hx = as_hx(inputs[1:])
        for x_t in inputs[0]:
            if module is ours:
                with kernels_alone():
                    hx = module(x_t, hx)
            else:
                hx = module(x_t, hx)
        results.append((flat(hx), gradients(module, inputs, flat(hx), seed=1)))
    (wanted, wanted_grads), (got, got_grads) = results
    gates = ours.weight_hh.shape[0] // H
    forward, backward = 2 * 3 * (I + H + gates), 2 * 3 * (I + (gates + 1) * H + B)
    for a, b in zip(got, wanted, strict=True):
        assert_close(a.detach(), b.detach(), K=forward, kind="forward")
    for a, b in zip(got_grads, wanted_grads, strict=True):
        assert_close(a, b, K=backward, kind="gradient")
    with kernels_alone(), torch.no_grad():
        hx = as_hx(states)
        for x_t in x:
            hx = ours(x_t, hx)
    assert_same_bits(flat(hx), [tensor.detach() for tensor in got])
    with kernels_alone():
        wanted_zero = flat(ours(x[0], as_hx([torch.zeros_like(s) for s in states])))
        assert_same_bits([t.detach() for t in flat(ours(x[0]))], [t.detach() for t in wanted_zero])


@pytest.mark.parametrize("form", ["padded", "unsorted"])
def test_gradcheck(name: str, form: str, rng: np.random.Generator) -> None:
    """Gradients, and gradients of gradients, against differences."""
    _, ours = make_pair(
        LAYERS[name], 3, 4, num_layers=2, bidirectional=True, dropout=0.3, dtype=torch.float64
    )
    (x,) = tensors(rng, np.float64, (3, 3, 3))
    states = states_for(rng, name, ours, 3)
    lengths = torch.tensor([2, 3, 1])

    def run(x: Any, *rest: Any) -> Any:
        torch.manual_seed(0)
        data = x
        if form == "unsorted":
            data = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return tuple(flat(ours(data, as_hx(list(rest[: len(states)])))))

    arguments = [tensor.requires_grad_() for tensor in (x, *states)]
    with kernels_alone():
        assert torch.autograd.gradcheck(run, (*arguments, *ours.parameters()), fast_mode=True)
        assert torch.autograd.gradgradcheck(run, (*arguments, *ours.parameters()), fast_mode=True)


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck_of_cells(cell: str, rng: np.random.Generator) -> None:
    _, ours = make_pair(CELLS[cell], 3, 2, dtype=torch.float64)
    arguments = tensors(rng, np.float64, (2, 3), *[(2, 2)] * (1 + (cell == "lstm")))
    arguments = [tensor.requires_grad_() for tensor in arguments]

    def run(x: Any, *rest: Any) -> Any:
        return ours(x, as_hx(list(rest[: len(arguments) - 1])))

    with kernels_alone():
        assert torch.autograd.gradcheck(run, (*arguments, *ours.parameters()))
        assert torch.autograd.gradgradcheck(run, (*arguments, *ours.parameters()))


VIEWS: dict[str, Any] = {
    "sliced": lambda base: base[..., :I],
    "strided": lambda base: base[..., ::2],
    "time last": lambda base: base[..., :I].permute(1, 2, 0).contiguous().permute(2, 0, 1),
    "one step": lambda base: base[:1, :, :I].expand(T, B, I),
    "one row": lambda base: base[:, :1, :I].expand(T, B, I),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_memory_of_any_layout(view: Any, rng: np.random.Generator) -> None:
    """Input that is sliced, strided, transposed or expanded, and gradients of stride 0."""
    theirs, ours = make_pair(("LSTM", {}), dtype=torch.float64)
    (base,) = tensors(rng, np.float64, (T, B, 2 * I))
    results = []
    for module in (theirs, ours):
        x = view(base).detach().requires_grad_()
        y, (h, _) = module(x)
        loss = y.sum() + h.transpose(1, 2).expand(3, 1, H, B)[1].sum()
        results.append(([y], torch.autograd.grad(loss, [x, *module.parameters()])))
    (wanted, wanted_grads), (got, got_grads) = results
    assert_layers_agree(got, wanted, ours, T, B, "forward")
    assert_layers_agree(got_grads, wanted_grads, ours, T, B, "gradient")


BAD_CALLS: dict[str, Any] = {
    "input size": lambda m: m(torch.zeros(T, B, I + 1)),
    "dimensions": lambda m: m(torch.zeros(T, B, I, 1)),
    "one dimension": lambda m: m(torch.zeros(I)),
    "no steps": lambda m: m(torch.zeros(0, B, I)),
    "dtype": lambda m: m(torch.zeros(T, B, I, dtype=torch.float64)),
    "integers": lambda m: m(torch.zeros(T, B, I, dtype=torch.int64)),
    "hidden size": lambda m: m(torch.zeros(T, B, I), hx_of(m, 1, B, H + 1)),
    "hidden batch": lambda m: m(torch.zeros(T, B, I), hx_of(m, 1, B + 1, H)),
    "hidden layers": lambda m: m(torch.zeros(T, B, I), hx_of(m, 2, B, H)),
    "hidden dimensions": lambda m: m(torch.zeros(T, B, I), hx_of(m, B, H)),
    "unbatched, hidden of a batch": lambda m: m(torch.zeros(T, I), hx_of(m, 1, 1, H)),
    "hidden dtype": lambda m: m(torch.zeros(T, B, I), hx_of(m, 1, B, H, dtype=torch.float64)),
    "packed input size": lambda m: m(packed_zeros(I + 1)),
    "packed hidden": lambda m: m(packed_zeros(I), hx_of(m, 1, B + 1, H)),
}


def hx_of(module: Any, *shape: int, dtype: Any = None) -> Any:
    states = [torch.zeros(*shape, dtype=dtype)] * (1 + isinstance(module, torch.nn.LSTM))
    return as_hx(states)


def packed_zeros(size: int) -> Any:
    return torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(T, B, size), [6, 4, 4, 1])


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors_are_those_of_torch(name: str, call: Any) -> None:
    theirs, ours = make_pair(LAYERS[name])
    with pytest.raises((RuntimeError, ValueError)) as wanted:
        call(theirs)
    with pytest.raises((RuntimeError, ValueError)) as got:
        call(ours)
    assert (got.type, str(got.value)) == (wanted.type, str(wanted.value))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("x", "h"),
    [((B, I + 1), (B, H)), ((B, I), (B, H + 1)), ((B, I), (B + 1, H)), ((1, B, I), (B, H))],
    ids=["input size", "hidden size", "hidden batch", "dimensions"],
)
def test_errors_of_cells_are_those_of_torch(cell: str, x: Any, h: Any) -> None:
    theirs, ours = make_pair(CELLS[cell])
    hx = as_hx([torch.zeros(h)] * (1 + (cell == "lstm")))
    with pytest.raises((RuntimeError, ValueError)) as wanted:
        theirs(torch.zeros(x), hx)
    with pytest.raises((RuntimeError, ValueError)) as got:
        ours(torch.zeros(x), hx)
    assert (got.type, str(got.value)) == (wanted.type, str(wanted.value))


@pytest.mark.parametrize("hx", ["a tensor", "one state", "a state missing"])
def test_states_of_an_lstm_that_are_none(hx: str) -> None:
    h = torch.zeros(1, B, H)
    given = {"a tensor": torch.zeros(3, B, H), "one state": (h,), "a state missing": (h, None)}
    _, ours = make_pair(LAYERS["lstm"])
    with torch_alone(), pytest.raises((RuntimeError, ValueError, IndexError, AttributeError)):
        ours(torch.zeros(T, B, I), given[hx])


def autocast_dtypes(theirs: torch.nn.RNNBase, given: torch.Tensor) -> list[torch.dtype]:
    """Those of torch's results, where it has any: without AVX-512 its LSTM refuses float32."""
    try:
        return [tensor.dtype for tensor in flat(theirs(given))]
    except RuntimeError as error:
        if theirs.mode != "LSTM" or "could not create a primitive" not in str(error):
            raise
        return [torch.bfloat16] * 3


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "lstm_projected"])
def test_autocast_multiplies_in_bfloat16(name: str, rng: np.random.Generator) -> None:
    """The numbers are those of our kernels in that precision, the dtypes those of torch."""
    theirs, ours = make_pair(LAYERS[name], num_layers=2)
    (x,) = tensors(rng, np.float32, (T, B, I))
    wanted = x.numpy()
    for layer in ("_l0", "_l1"):
        arrays = [getattr(ours, kind + layer).detach().numpy() for kind in PARAMETERS]
        packed = functional.pack(name, *arrays, precision="bf16")
        wanted, _ = functional.scan(packed, wanted)
    for given in (x, x.bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            dtypes = autocast_dtypes(theirs, given)
            with kernels_alone():
                got = flat(ours(given))
        assert [tensor.dtype for tensor in got] == dtypes
        if given is x:
            rounded = torch.from_numpy(wanted).to(got[0].dtype)
            assert_same_bits(got[0].detach().float(), rounded.float())
    got[0].float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in ours.parameters())
