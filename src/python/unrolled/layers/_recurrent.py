"""Stacked, bidirectional recurrent layers over any cell: the shared base of RNN, LSTM and GRU."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ._checks import check_array, checked_cell_clip, checked_dtype, checked_probability
from ._gates import checked_gates, gate_options
from ._initialisers import Initialiser, initialise
from ._memory import LayerMemory, stack_memory
from ._recurrent_steps import RecurrentSteps
from ._scan_parameters import ScanParameters
from ._sizes import LayerSizes, Merge, layer_sizes
from ._specs import recurrent_specs
from ._stack_scans import StackScans
from ._state import StateForm, StateT, as_state
from ._stream import Stream
from ._tape import RecurrentPullback
from ._types import Array
from ._zoneout import Zoneout


class Recurrent(StackScans[StateT]):
    """A stack of recurrent layers over the cell of a given name.

    `RNN`, `LSTM` and `GRU` are this class with the cell filled in; a cell that has no class of its
    own is used through this one: `Recurrent(cell, input_size, hidden_size)`.

    Layer k reads the output of layer k-1. A bidirectional layer runs a second scan from the last
    step to the first; outputs of the two directions lie side by side in the last axis, or are
    added.

    Shapes: T steps, B batch, I input, H hidden, G gates, L layers, D directions.
        parameters of layer k: weight_ih_lk (G*H, I or D*H), weight_hh_lk (G*H, H),
        bias_ih_lk (G*H,), bias_hh_lk (G*H,); the reverse direction has the suffix "_reverse".
        With proj_size R, weight_hh_lk (G*H, R) and weight_hr_lk (R, H); R stands for H in outputs,
        in the state h and in the input of the next layer.
        Names, shapes and gate order are torch's: `load_parameters` takes a torch state dict.
        With learn_initial_state also initial_h_lk (H,), and likewise of the cell's other states.
        Where layers differ in width, states are (D, B, H_1 + ... + H_L) rather than (L*D, B, H):
        those of the layers side by side, `np.split(h, np.cumsum(layer.hidden_sizes)[:-1], 2)`.

    Args:
        cell: a name from `unrolled.functional.cells()`, or a cell made by `unrolled.cell`.
        input_size: I.
        hidden_size: H; or a sequence of numbers, one for each layer, which says L too.
        num_layers: L.
        bias: whether there are bias parameters.
        batch_first: sequences are (B, T, I) rather than (T, B, I), and resets (B, T). States stay
            (L*D, B, H).
        dropout: probability of dropping each output of a layer before the next one reads it, in
            `vjp` (training) only.
        bidirectional: D = 2 rather than 1.
        variational: drop the same outputs in every step (Gal and Ghahramani 2016).
        weight_dropout: probability of dropping each recurrent weight (weight_hh), in `vjp` only:
            drawn once for all steps of a call; the others are divided by 1 - weight_dropout
            (DropConnect, Wan et al. 2013; weight drop, Merity et al. 2018).
        recurrent_dropout: probability of dropping each element of h on its way into the recurrent
            product, in `vjp` only: drawn once for each row and scan of a call, the same in all
            steps and gates, resets included; the others are divided by 1 - recurrent_dropout
            (variational dropout, Gal and Ghahramani 2016). The state and the output stay whole.
        zoneout: probability that a unit keeps its state over a step, in `vjp`: one for all states,
            or one for each, as (0.15, 0.5) for h and c of an LSTM. Elsewhere a state moves by the
            mean, 1 - zoneout of the way (Krueger et al. 2017).
        cell_clip: limit of the state c of an LSTM: c_t <- min(max(c_t, -cell_clip), cell_clip)
            before anything reads it, and no gradient where that changed it; None: no limit. As in
            TensorFlow (Sak, Senior and Beaufays 2014).
        merge: how the outputs of two directions become one: "concat" (D*H wide) or "sum" (H wide),
            as Keras's merge_mode.
        residual: the input of each layer but the first is added to its output where both are of
            one width, so that y_k = f_k(y_{k-1}) + y_{k-1}. Dropout acts on what f_k reads alone.
            States are those of f_k (GNMT, Wu et al. 2016; the first layer has none there either).
        learn_initial_state: the states that a call without `state`, or a stream, begins with are
            parameters, one vector a layer, direction and state, zero at first.
        proj_size: R of a cell that projects its output (see `functional.CellInfo`), 1 <= R <= H; 0
            is H there, and all that other cells take.
        gates: what the gates of a cell with `functions` (see `functional.CellInfo`) apply; None:
            what they do by default, and all that other cells take.
        unit_parameters: whether such a cell has its parameters of units, as peephole weights; they
            are zeros otherwise.
        dtype: float32 or float64, of parameters and of all arrays; nothing is cast silently.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Raises:
        ValueError: a size below 1, a probability outside 0 <= p < 1, an unknown cell or
            initialiser, or an option that cannot act: a sum of one direction, residual=True where
            no two layers fit.
        TypeError: another dtype.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        cell: str | functional.CellInfo,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        cell_clip: float | None = None,
        merge: Merge = "concat",
        residual: bool = False,
        learn_initial_state: bool = False,
        proj_size: int = 0,
        gates: functional.Gates | None = None,
        unit_parameters: bool = True,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        where = type(self).__name__
        info = functional.cell_info(cell)
        self.cell = info.name
        self.num_directions = 2 if bidirectional else 1
        self.merge = merge
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.dropout = checked_probability(where, "dropout", dropout)
        self.variational = bool(variational)
        self.weight_dropout = checked_probability(where, "weight_dropout", weight_dropout)
        self.recurrent_dropout = checked_probability(where, "recurrent_dropout", recurrent_dropout)

        kind = checked_dtype(where, dtype)
        self.learn_initial_state = bool(learn_initial_state)
        rng = np.random.default_rng() if rng is None else rng
        self.zoneout = Zoneout.of(where, zoneout, info.states)
        self.cell_clip = checked_cell_clip(where, cell_clip, info)
        self.gates = checked_gates(where, info, gates)
        if not unit_parameters:
            if not info.functions:
                raise ValueError(f"[{where}] expected unit_parameters=True: {info.name} needs them")
            info = replace(info, units=())
        for name in ("weight_dropout", "recurrent_dropout"):
            if getattr(self, name) and not info.recurrent:
                raise ValueError(f"[{where}] expected {name}=0: {self.cell} has no weight_hh")
        self._scans = []
        own: dict[str, Array] = {}
        layers: list[LayerSizes] = []
        for k, each in enumerate(
            layer_sizes(
                where,
                info,
                input_size,
                hidden_size,
                num_layers,
                self.num_directions,
                proj_size=proj_size,
                merge=merge,
                residual=residual,
            )
        ):
            layers.append(each)
            for scan in recurrent_specs(info, k, each, self.num_directions, bias=self.bias):
                keys = {key: spec.name for key, spec in scan.items()}
                own.update({s.name: initialise(init, s, rng, kind) for s in scan.values()})
                begins: dict[str, Array] = {}
                if self.learn_initial_state:
                    ending = keys["weight_ih"].removeprefix("weight_ih")
                    columns = zip(info.states, each.states(len(info.states)), strict=True)
                    begins = {f"initial_{name}{ending}": np.zeros(n, kind) for name, n in columns}
                own.update(begins)
                self._scans.append(ScanParameters(self.cell, keys, tuple(begins), self.gates))
        self._layers = tuple(layers)
        sizes = tuple(each.states(len(info.states)) for each in layers)
        self._form = StateForm(info.states, sizes, self.num_directions)
        super().__init__(own)

    def memory(self, steps: int, batch: int, lengths: Array | None = None) -> LayerMemory:
        """The memory of one `vjp` with an initial state and its pullback, known before the run.

        ::

            layer.recompute = 1000
            print(f"{layer.memory(100_000, 1).peak / 1e6:.0f} MB")

        Args:
            steps: T.
            batch: B.
            lengths: (B,) as in `vjp`; x is taken to be a dense array, and that there is no mask.
        """
        return stack_memory(self, steps, batch, lengths)

    def __repr__(self) -> str:
        same = len({*self.hidden_sizes}) == 1
        options = [f"num_layers={self.num_layers}"] if same and self.num_layers > 1 else []
        options += ["bidirectional=True"] if self.num_directions == 2 else []
        options += ["bias=False"] if not self.bias else []
        options += ["batch_first=True"] if self.batch_first else []
        options += [f"dropout={self.dropout:g}"] if self.dropout else []
        options += ["variational=True"] if self.variational else []
        options += [f"weight_dropout={self.weight_dropout:g}"] if self.weight_dropout else []
        dropped = self.recurrent_dropout
        options += [f"recurrent_dropout={dropped:g}"] if dropped else []
        options += [f"zoneout={self.zoneout}"] if self.zoneout else []
        options += [f"cell_clip={self.cell_clip:g}"] if self.cell_clip is not None else []
        options += [f"merge={self.merge!r}"] if self.merge != "concat" else []
        options += ["residual=True"] if self.residual else []
        options += ["learn_initial_state=True"] if self.learn_initial_state else []
        options += self._cell_options()
        sizes = [f"{self.cell!r}"] if type(self) is Recurrent else []
        sizes += [str(self.input_size), str(self.hidden_size if same else self.hidden_sizes)]
        return f"{type(self).__name__}({', '.join(sizes + options)}, dtype={self.dtype})"

    def _cell_options(self) -> list[str]:
        """What stands in the text of the layer beside options of every cell."""
        projected = [f"proj_size={self.proj_size}"] if self.proj_size else []
        return projected + gate_options(self.gates)

    def __call__(
        self,
        x: Array | functional.Lookup,
        state: StateT | None = None,
        lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, StateT]:
        """Runs the stack over a batch of sequences, for inference: without dropout.

        Shapes: x (T, B, I), y (T, B, D*H), states (L*D, B, H) each, lengths (B,), resets and mask
            (T, B); with batch_first x (B, T, I), y (B, T, D*H), resets and mask (B, T).

        Args:
            x: input sequences; a batch of one is x[:, None]. Or a `functional.Lookup` of tokens
                (T, B) in a table (V, I), which saves most of the input product.
            state: the state before the first step, None = zeros, or what was learned.
            lengths: row b ends after lengths[b] steps (any order, 0 allowed), None = all take T.
                Outputs after the end are zero, and final states are those of the row's last step.
            resets: true where a new sequence begins inside a row: no state crosses into step t.
                Not with learn_initial_state, since it begins with zeros.
            mask: bool, False where a step is masked, in any pattern: each layer then leaves its
                states as they were and outputs h again, as Keras's layers do under a mask (before
                the first live step the initial one, where Keras has zeros). Input there is never
                read, NaN included, and costs no product; live steps have the bits that they have
                without the masked ones between them.

        Returns:
            y and the final state, ready to be passed on with the next part of the sequences.

        Raises:
            ValueError: a shape does not fit; TypeError: a dtype does not fit.
        """
        y, final, _ = self._run(x, state, lengths, resets, mask, None, training=False)
        return y, final

    def states(
        self,
        x: Array | functional.Lookup,
        state: StateT | None = None,
        lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
    ) -> StateT:
        """The states of all layers after every step, as c of each layer of an LSTM; see `__call__`.

        Returns:
            arrays (L*D, T, B, H), with batch_first (L*D, B, T, H), in the form of a state. Zero
            after the end of a row.
        """
        every: list[tuple[Array, ...]] = []
        self._run(x, state, lengths, resets, mask, None, training=False, every=every)
        parts = [tuple(map(self._swapped, of)) for of in every]
        return cast(StateT, as_state(self._form.stack(parts)))

    def vjp(
        self,
        x: Array | functional.Lookup,
        state: StateT | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[Array, StateT], RecurrentPullback[StateT]]:
        """Runs the stack for training: `__call__` with dropout, and back-propagation through time.

        ::

            (y, state), pullback = layer.vjp(x, state)
            dx, dstate = pullback(dy, dstate)    # adds to layer.grads

        The pullback refers to x, y and the initial state and does not copy them: leave them as they
        are until it has run. It uses the weights as they were at the time of `vjp`.

        Args:
            x, state, lengths, resets, mask: see `__call__`.
            rng: where dropout comes from; needed only by a stack with dropout of either kind.

        Returns:
            (y, final state), pullback. `pullback(dy, dstate=None, needs_dx=True)` takes gradients
            of y and of the final state (None = zeros), adds those of the parameters to `grads`,
            and returns those of x (of the table of a Lookup; None if not needed) and of the
            initial state.
        """
        y, final, tape = self._run(x, state, lengths, resets, mask, rng, training=True)
        y_shape = y.shape

        def pullback(
            dy: Array | None, dstate: StateT | None = None, *, needs_dx: bool = True
        ) -> tuple[Any, StateT]:
            if dy is not None:
                order = "B, T" if self.batch_first else "T, B"
                text = f"dy of shape ({order}, {'H' if self.merge == 'sum' else 'D*H'})"
                check_array(self._where, text, dy, y_shape, self.dtype)
                dy = self._swapped(dy)
            return self._pull(tape, dy, dstate, needs_dx=needs_dx)

        return (y, final), pullback

    def stream(self, batch: int = 1) -> Stream[StateT]:
        """Starts a stream: the layer one step at a time, with a state that it keeps.

        The stream holds a packed copy of the weights as they are now; training that goes on does
        not change it.

        Args:
            batch: B, how many independent sequences advance together.

        Raises:
            ValueError: the layer is bidirectional: its output needs the end of the sequence first.
        """
        if self.num_directions == 2:
            raise ValueError(f"[{self._where}] a bidirectional layer cannot stream")
        parameters: Mapping[str, Array] = self._parameters
        if self.place == "cuda":  # packed weights are views there
            parameters = {name: array.copy() for name, array in parameters.items()}
        return Stream(
            [scan.pack(parameters, self.precision) for scan in self._scans],
            batch,
            self.zoneout.shares,
            cell_clip=self.cell_clip,
            form=self._form,
            residual=[sizes.residual for sizes in self._layers],
            initial=[scan.begin(parameters, 1) for scan in self._scans],
        )

    def steps_vjp(
        self, *, rng: np.random.Generator | None = None, training: bool = True
    ) -> RecurrentSteps:
        """Starts `vjp` step by step, see there; without `training` nothing is dropped."""
        return RecurrentSteps(self, rng, training=training)
