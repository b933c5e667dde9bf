"""What can be set for every training, and what is made of it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from unrolled.layers import Layer
from unrolled.training import (
    ASGD,
    EMA,
    SGD,
    Adam,
    AdamW,
    Averaging,
    Budget,
    Optimizer,
    RMSprop,
    Schedule,
    constant,
    one_cycle,
    plateau,
    warmup_cosine,
)

#: The choices of an option `cell`, and the names of the cells that they stand for.
CELLS = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}


def option(default: Any, text: str) -> Any:
    """Declares a field of its options: its default value and its line of `--help`."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What can be set for every task; a task's own options add to it and may change its defaults.

    Each field becomes an option of the command line and a keyword of the Python function, and is
    kept in the checkpoint. Types: bool, int, float, str, Literal of strings, or one of them | None.
    """

    preset: str | None = option(None, "set of options that go together; those given win")
    minutes: float | None = option(None, "train for this long, validation included")
    epochs: float | None = option(None, "train for so many times through the data")
    steps: int | None = option(None, "train for so many updates")
    batch: int = option(16, "sequences per batch, of all ranks together")
    accumulate: int = option(1, "batches per update")
    optimizer: Literal["adamw", "adam", "rmsprop", "sgd"] = option("adamw", "how to descend")
    momentum: float = option(0.0, "of sgd (Nesterov's) and rmsprop, 0..1")
    lr: float = option(1e-3, "highest learning rate")
    schedule: Literal["cosine", "constant", "plateau", "one-cycle"] = option(
        "cosine", "how the learning rate changes; plateau halves it when validation stalls"
    )
    warmup: float = option(0.02, "part of the run over which the learning rate rises, 0..1")
    averaging: Literal["none", "ema", "asgd", "nt-asgd"] = option(
        "none", "average of the weights to keep: exponential, of all updates, or once it stalls"
    )
    ema_decay: float = option(0.999, "of the exponential average, 0..1")
    clip: float = option(1.0, "largest norm of the gradients")
    clip_value: float | None = option(None, "largest absolute value of a gradient, after clip")
    weight_decay: float = option(0.01, "how strongly matrices are pulled to zero")
    precision: Literal["full", "bf16"] = option(
        "full", "what recurrent layers and losses of heads multiply in"
    )
    validations: int = option(10, "how often the held-out data are scored on the way")
    patience: int | None = option(None, "stop after so many validations without a better one")
    device: Literal["cpu", "cuda"] = option("cpu", "where to train; cuda: needs the extra [cuda]")
    seed: int = option(0, "of initial weights, batches and dropout")
    statistics: bool = option(False, "measure the gradient and the update of each parameter")
    tensorboard: str | None = option(None, "write TensorBoard's event files into this folder")

    #: Used when none of the three is given.
    default_minutes: ClassVar[float] = 3.0

    def budget(self) -> Budget:
        """Returns the budget that was asked for."""
        if self.minutes is None and self.epochs is None and self.steps is None:
            return Budget(minutes=self.default_minutes)
        return Budget(epochs=self.epochs, steps=self.steps, minutes=self.minutes)

    def make_optimizer(self, model: Layer) -> Optimizer:
        """Returns the optimizer that was asked for."""
        lr, weight_decay, momentum = self.lr, self.weight_decay, self.momentum
        if self.optimizer == "sgd":
            return SGD(
                model, lr=lr, momentum=momentum, nesterov=momentum > 0.0, weight_decay=weight_decay
            )
        if self.optimizer == "rmsprop":
            return RMSprop(model, lr=lr, momentum=momentum, weight_decay=weight_decay)
        if momentum:
            raise ValueError(f"{self.optimizer} has no momentum; leave it at 0")
        adam = AdamW if self.optimizer == "adamw" else Adam
        return adam(model, lr=lr, weight_decay=weight_decay)

    def make_schedule(self) -> Schedule:
        """Returns the schedule that was asked for."""
        if self.schedule == "constant":
            return constant(self.warmup)
        if self.schedule == "plateau":
            return plateau(warmup=self.warmup)
        return one_cycle() if self.schedule == "one-cycle" else warmup_cosine(self.warmup)

    def make_averaging(self, model: Layer) -> Averaging | None:
        """Returns the averaging that was asked for."""
        if self.averaging == "ema":
            return EMA(model, self.ema_decay)
        if self.averaging == "asgd":
            return ASGD(model, trigger=None)
        return ASGD(model) if self.averaging == "nt-asgd" else None
