"""What is known of a run before it begins."""

import shlex
from dataclasses import asdict, dataclass, fields
from typing import Any

from unrolled import functional
from unrolled.layers import Layer

from ._task import Task

AnyTask = Task[Any, Any, Any, Any]


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run before it begins.

    Attributes:
        task: with its options and sources.
        data: the line about the data.
        model: its kind, number of parameters and dtype, by name.
        versions: of what computes, by name.
        machine: what it computes on, by name.
    """

    task: AnyTask
    data: str
    model: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]

    @classmethod
    def gather(cls, task: AnyTask, model: Layer, data: str) -> "RunFacts":
        """Looks at the task, the model, and the machine as it is now."""
        from unrolled.bench import describe_machine  # takes a moment to import

        machine = describe_machine()
        return cls(
            task=task,
            data=data,
            model={
                "kind": type(model).__name__,
                "parameters": model.num_parameters,
                "dtype": str(model.dtype),
            },
            versions={
                "unrolled": machine.versions["unrolled"],
                "numpy": machine.versions["numpy"],
                "python": machine.python,
            },
            machine={
                "cpu": machine.cpu,
                "cpus": machine.cpus,
                "threads": functional.get_num_threads(),
                "instruction set": machine.isa,
                "system": machine.system,
            },
        )

    @property
    def command(self) -> str:
        """The command line of the whole run, with the options that are not at their default."""
        task = self.task
        parts = ["unrolled", "train", task.name, *map(str, task.sources)]
        defaults = task.options_type()
        for item in fields(task.options):
            value, flag = getattr(task.options, item.name), item.name.replace("_", "-")
            if value == getattr(defaults, item.name):
                continue
            if isinstance(value, bool):
                parts.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                parts += [f"--{flag}", str(value)]
        return shlex.join(parts)

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as JSON-able values."""
        return {
            "task": self.task.name,
            "command": self.command,
            "options": asdict(self.task.options),
            "sources": [str(path) for path in self.task.sources],
            "data": self.data,
            "model": self.model,
            "versions": self.versions,
            "machine": self.machine,
        }
