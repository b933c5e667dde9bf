"""What estimators for scikit-learn share; scikit-learn itself is not needed."""

import importlib.util
import inspect
from typing import Any, TypeVar

import numpy as np

from unrolled.layers import Layer
from unrolled.training import import_extra

from .._run import best_values, make_trainer
from .._task import Task

EstimatorT = TypeVar("EstimatorT", bound="Estimator")
ModelT = TypeVar("ModelT", bound=Layer)


class Estimator:
    """Parameters as scikit-learn wants them: the constructor keeps its arguments, and no more."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the arguments of the constructor by name; `deep` changes nothing here."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self: EstimatorT, **params: Any) -> EstimatorT:
        """Sets arguments of the constructor by name.

        Raises:
            ValueError: there is no such argument.
        """
        for name, value in params.items():
            if name not in self._names():
                raise ValueError(
                    f"[{type(self).__name__}] there is no parameter {name!r}, only "
                    f"{', '.join(self._names())}"
                )
            setattr(self, name, value)
        return self

    def _options(self) -> dict[str, Any]:
        """The parameters by the names that the options of a task have."""
        params = self.get_params()
        params["seed"] = params.pop("random_state")
        return params

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({params})"


def tags(kind: str, **inputs: bool) -> Any:
    """Returns what scikit-learn asks an estimator of a kind for; nothing else calls this."""
    utils = import_extra("sklearn.utils", "recipes")
    return utils.Tags(
        estimator_type=kind,
        target_tags=utils.TargetTags(required=True),
        transformer_tags=None,
        classifier_tags=utils.ClassifierTags() if kind == "classifier" else None,
        regressor_tags=utils.RegressorTags() if kind == "regressor" else None,
        input_tags=utils.InputTags(allow_nan=True, **inputs),
    )


def not_fitted(estimator: Estimator, what: str) -> ValueError:
    """Returns the error of a call before `fit`: scikit-learn's own where it is installed."""
    text = f"[{type(estimator).__name__}] call fit before {what}"
    if importlib.util.find_spec("sklearn") is None:
        return ValueError(text)
    error: ValueError = import_extra("sklearn.exceptions", "recipes").NotFittedError(text)
    return error


def fit_task(task: Task[Any, ModelT, Any, Any], *, validate: bool) -> ModelT:
    """Trains a task whose data are loaded, in silence; returns its model.

    Args:
        task: after `load`.
        validate: return the best model by the task's held-out part, not the last one.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    rng = np.random.default_rng(task.options.seed)
    model = task.build(rng)
    trainer = make_trainer(
        task,
        model,
        rng,
        budget=task.options.budget(),
        validate=(lambda: task.validate(model)) if validate else None,
    )
    trainer.run()
    if trainer.stopped:
        raise KeyboardInterrupt
    model.flat.values[...] = best_values(trainer)
    return model
