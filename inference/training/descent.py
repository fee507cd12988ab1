"""The step that an optimizer takes down the gradient, after a run or within a compiled graph."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from .adam import AdamInGraph, take_step
from .optimizer import (
    OnePerParameter,
    check_clip_norm,
    check_covers,
    clip_each,
    set_learning_rates,
    set_state,
)
from .trained_parameters import Trained

__all__ = ["Descent"]


class Descent:
    """Updates parameters by their gradients: clips these, sets learning rates, steps.

    Args:
        optim: A Pyro optimizer; or a torch optimizer over the parameters.
        clip_norm: Scales the gradient of all parameters together down to this norm.
        lr_schedule: A factor of the learning rates, from the step.

    Attributes:
        optimizer: The torch optimizer, or those of the Pyro optimizer read as one.
    """

    def __init__(
        self,
        optim: PyroOptim | Optimizer,
        clip_norm: float | None = None,
        lr_schedule: Callable[[int], float] | None = None,
    ) -> None:
        check_clip_norm(clip_norm)
        self.optim, self.clip_norm, self.lr_schedule = optim, clip_norm, lr_schedule
        self.optimizer = optim if isinstance(optim, Optimizer) else OnePerParameter(optim)
        self._version = 0  # of the parameters that the torch optimizer was last compared with
        self._waiting: dict[str, Any] = {}  # saved states of parameters that are still to be met

    def take(self, parameters: Mapping[str, Tensor], trained: Trained, step: int) -> None:
        """Updates parameters by the gradients in them.

        Args:
            parameters: Those of this step, by name.
            trained: Those of all steps.
            step: The number of the step, of which the learning rates are.
        """
        optimizer = self.optimizer
        if isinstance(optimizer, OnePerParameter):
            optimizer.add(parameters.values())
        elif self._version != trained.version:
            self._version = trained.version
            check_covers(optimizer, trained.parameters)
        if self._waiting:
            self.load(parameters, self._waiting)
            self._waiting = {n: s for n, s in self._waiting.items() if n not in parameters}
        self._give_zeros(parameters.values())
        if isinstance(optimizer, OnePerParameter):
            clip_each(optimizer.optim, parameters.values())
        if self.clip_norm is not None:
            clip_grad_norm_(parameters.values(), self.clip_norm)
        self.set_rates(step)
        if isinstance(optimizer, OnePerParameter):
            optimizer.step(list(parameters.values()))
        else:
            take_step(optimizer)

    def in_graph(self, reached: Sequence[Tensor], stepped: Sequence[Tensor]) -> AdamInGraph | None:
        """This step as a compiled graph may take it; None where only `take` does it right.

        Args:
            reached: The parameters that the graph has gradients of.
            stepped: Those that the optimizer steps. Where one has no gradient its momentum may
                move it on, which `take` sees to.
        """
        clips = self.clip_norm is not None or getattr(self.optim, "pt_clip_args", None)
        if clips or not {*map(id, stepped)} <= {*map(id, reached)}:
            return None
        return AdamInGraph.of(self.optimizer, reached)

    def set_rates(self, step: int) -> None:
        """Sets the learning rates of a step."""
        if self.lr_schedule is not None:
            set_learning_rates(self.optimizer, self.lr_schedule(step))

    def state_of(self, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
        """The optimizer's state of each parameter, by name."""
        states = self.optimizer.state
        return {name: states[p] for name, p in parameters.items() if p in states}

    def load(self, parameters: Mapping[str, Tensor], states: Mapping[str, Any]) -> None:
        """Gives parameters their saved states; those of names to come wait for them."""
        put = set_state(self.optimizer, parameters, states)
        self._waiting = {name: state for name, state in states.items() if name not in put}

    def _give_zeros(self, parameters: Iterable[Tensor]) -> None:
        """Gives parameters that the loss did not reach, but momentum moves on, a gradient of zero.

        As Pyro does. Torch's optimizers leave out what has no gradient.
        """
        at_rest = [parameter for parameter in parameters if parameter.grad is None]
        states = self.optimizer.state if at_rest else {}
        for parameter in at_rest:
            if states.get(parameter):
                parameter.grad = torch.zeros_like(parameter)
