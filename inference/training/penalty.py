"""What training adds to a loss that is a function of the program's modules, and of no data."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.inference.estimators import Weight
from pyro_vae.inference.terms import leaving_no_trace
from pyro_vae.program import Program, modules_of

__all__ = ["WEIGHT", "Penalty", "PenaltyFunction", "check_penalty", "one_module", "read_penalty"]

PenaltyFunction = Callable[[nn.Module], Tensor]

WEIGHT = "penalty.weight"  # the name of its schedule among those of an objective


class Penalty(nn.Module):
    """A function of a program's modules whose gradient is added to that of each step's loss.

    `SVI` and `fit` take any function of one module that returns a number, such as weight decay:

        def l2(program):
            return 1e-4 * sum(p.square().sum() for p in program.parameters())

        fit(vae, x, penalty=l2)

    A subclass has a weight beside it, which may be a schedule, and may keep state in buffers, which
    is saved and resumed with the training. It writes `forward`, without the weight:

        class L1(Penalty):
            def forward(self, program):
                return sum(p.abs().sum() for p in program.parameters())

        fit(vae, x, penalty=L1(linear(1e-6, 1e-4, steps=1000)))

    The module is the program itself; of functions that use several it is an `nn.ModuleDict` of
    them, by the names that the functions use. The gradient reaches what the loss trains, and
    nothing else. The loss that a step returns, its bound and the validation are without the
    penalty: `fit` records it under "penalty", weighed, as it is after each epoch.

    Args:
        weight: What multiplies the function: a number or a schedule.

    Raises:
        ValueError: If the weight is neither.
    """

    def __init__(self, weight: Weight = 1.0) -> None:
        super().__init__()
        if not callable(weight) and not (isinstance(weight, int | float) and weight >= 0):
            raise ValueError(
                f"the weight of {type(self).__name__} is {weight!r:.80}, but must be a number, not "
                "negative, or a schedule"
            )
        self.weight = weight

    def forward(self, program: nn.Module) -> Tensor:
        """The penalty of a program's modules, unweighed: a 0-dim tensor with its gradient."""
        raise NotImplementedError

    @property
    def schedules(self) -> dict[str, Callable[[int], float]]:
        """The schedule of the weight under the name "penalty.weight", if it is one."""
        return {WEIGHT: self.weight} if callable(self.weight) else {}

    def weighed(self, program: nn.Module, weights: Any) -> Tensor:
        """The penalty times its weight.

        Args:
            program: The modules.
            weights: The values of the `schedules`.

        Raises:
            ValueError: If `forward` returns something else than one number.
        """
        value = self(program)
        if not (isinstance(value, Tensor) and value.numel() == 1):
            found = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"the penalty {self} is {found:.80}, but must be one number, a tensor made of the "
                "parameters of the program's modules"
            )
        return weights.get(WEIGHT, self.weight) * value.squeeze()

    @torch.no_grad()
    def look(self, program: nn.Module, weights: Any) -> float:
        """The same as a number; buffers and random generators stay as they are."""
        with leaving_no_trace():
            return self.weighed(program, weights).item()


class _OfFunction(Penalty):
    """The penalty that a user's function is."""

    def __init__(self, function: PenaltyFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, program: nn.Module) -> Tensor:
        return self.function(program)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def read_penalty(penalty: Any) -> Penalty | None:
    """A user's penalty as a `Penalty`.

    Raises:
        TypeError: If it is no function, or a class.
    """
    if penalty is None or isinstance(penalty, Penalty):
        return penalty
    if isinstance(penalty, type):
        raise TypeError(f"the penalty is the class {penalty.__name__}; write {penalty.__name__}()")
    if not callable(penalty):
        raise TypeError(
            f"the penalty is {penalty!r:.80}, but must be a function of the program's modules that "
            "returns a number, such as Spectral(1e-2)"
        )
    return _OfFunction(penalty)


def check_penalty(penalty: Any, program: Program) -> None:
    """Refuses what is no penalty of a program that has run, as its first step would."""
    read = read_penalty(penalty)
    if read is not None:
        read = copy.deepcopy(read)  # it may begin to keep state
        weights = {name: schedule(0) for name, schedule in read.schedules.items()}
        read.look(one_module(program.model, program.guide), weights)


def one_module(model: Any, guide: Any) -> nn.Module:
    """The modules of model and guide as one: the program itself, or a dictionary of several."""
    modules = modules_of(model, guide)
    if len(modules) == 1:
        (module,) = modules.values()
        return module
    return nn.ModuleDict({name.replace(".", "_") or "program": m for name, m in modules.items()})
