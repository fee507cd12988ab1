"""Stochastic variational inference: a drop-in for `pyro.infer.SVI`, with captured steps.

Parameters are Pyro's, under Pyro's names, in Pyro's store; optimizers are those that Pyro makes.
What Pyro silently leaves untrained is trained, too: plain modules, and a second module of a name.

A step goes one way:

    Graphs.run, or _run_eagerly   the loss and its gradient, both by way of the `Objective`
    check_finite                  refuses a loss that is not finite
    Descent.take                  updates the parameters, unless the graph has

All these are of a `Turn`, which tells whose parameters the step trains.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any

import pyro.infer
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.abstract_infer import TracePosterior
from pyro.optim import PyroOptim
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from pyro_vae.batches import arguments_of_each
from pyro_vae.inference.estimators import Trace_ELBO
from pyro_vae.inference.graphs import Compile, GraphReport, Graphs, Outcome, joined_reports, slowest
from pyro_vae.inference.terms import Function

from .descent import Descent
from .finite import check_finite
from .loss import Loss
from .objective import Objective
from .optimizer import check_closure
from .penalty import PenaltyFunction, read_penalty
from .trained_parameters import Trained
from .turns import GuidesOwn, Turn

__all__ = ["SVI"]


class SVI(pyro.infer.SVI):
    """Trains a model and its guide with an estimator's gradients, as `pyro.infer.SVI` does.

    It takes the arguments of `pyro.infer.SVI` and means the same by them. What differs:

    ===============================  ===========================================================
    Pyro                             `SVI`
    ===============================  ===========================================================
    leaves a plain module untrained  trains what the loss depends on, but for what is frozen
    that no `pyro.module` registers  (`requires_grad_(False)`) or hidden (`poutine.block`), and
                                     puts it into Pyro's store
    shares parameters between two    keeps both apart; the store holds, under a name that both
    PyroModules, or autoguides, of   have, the parameter of the one that was trained or ran last.
    the same names                   A value that was loaded or assigned is taken over, as in Pyro
    trains a frozen parameter of a   leaves it frozen
    PyroModule
    goes on with a loss that is not  raises FloatingPointError, the parameters as they were
    finite
    returns a float                  returns a 0-dim tensor that prints, rounds and computes as
                                     one, so that nothing waits for a GPU
    compiles a `Jit` ELBO            runs its plain twin; `compile=True` captures that
    ===============================  ===========================================================

    Args:
        model: The model.
        guide: Its guide, which takes the same arguments.
        optim: A Pyro optimizer; or a torch optimizer over the parameters to train.
        loss: An estimator of ours or of Pyro's, or a function of (model, guide, *args) that
            returns a differentiable loss; by default `Trace_ELBO()`.
        loss_and_grads: A function of (model, guide, *args) that returns the loss of a step and adds
            its gradient to the parameters, where `loss` is a function.
        num_samples: Deprecated in Pyro, as are the next two: for `run`.
        num_steps: The steps of `run`.
        num_chains: Of `TracePosterior`.
        clip_norm: Scales the gradient of all parameters together down to this norm.
        lr_schedule: A function of the step that returns what to multiply the learning rates by.
        compile: Whether to capture the step as a graph and compile it; a `Compile` says how. What
            cannot be captured runs eagerly, with one warning that says why; `svi.graphs` says it
            too. A compiled step may include the update by Adam, and then leaves no gradients;
            other optimizers, such as Adamax, update after it.
        bfloat16: Whether linear and convolutional layers multiply in bfloat16, which is faster
            where the machine has it; parameters, draws, log densities and their sums stay float32.
        penalty: A function of the program's modules, such as `Spectral(1e-2)`, whose gradient is
            added to the loss's; see `Penalty`. The losses that are returned are without it.

    Attributes:
        estimator: The `loss` that was given.
        objective: The same with its gradient and its schedules, under one face for every kind.
        optimizer: The torch optimizer, or those of the Pyro optimizer read as one.
        steps: How many steps were taken, without those of the guide alone.
        keeps_gradients: Whether gradients stay after a step, to be looked at. By default they are
            cleared, as in Pyro, so that no other training on the same parameters meets them.

    Example:
        >>> vae = VAE((1, 8, 8), latent_dim=2)
        >>> svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        >>> svi.step(torch.zeros(5, 1, 8, 8)) > 0
        tensor(True)
    """

    def __init__(
        self,
        model: Function,
        guide: Function,
        optim: PyroOptim | Optimizer,
        loss: ELBO | Callable[..., Any] | None = None,
        loss_and_grads: Callable[..., Any] | None = None,
        num_samples: int = 0,
        num_steps: int = 0,
        *,
        num_chains: int = 1,
        clip_norm: float | None = None,
        lr_schedule: Callable[[int], float] | None = None,
        compile: bool | Compile = False,
        bfloat16: bool = False,
        penalty: PenaltyFunction | None = None,
    ) -> None:
        _check(optim, loss)
        TracePosterior.__init__(self, num_chains)
        self.model, self.guide, self.optim = model, guide, optim
        self.num_samples, self.num_steps = num_samples, num_steps
        _warn_of_deprecated(num_samples=num_samples, num_steps=num_steps)
        self.estimator = Trace_ELBO() if loss is None else loss
        self.steps = 0
        self.keeps_gradients = False
        self._descent = Descent(optim, clip_norm, lr_schedule)
        self.optimizer = self._descent.optimizer
        self._trained = Trained(model, guide)
        self.objective = Objective(
            model,
            guide,
            self.estimator,
            loss_and_grads,
            trained=self._trained,
            penalty=read_penalty(penalty),
            bfloat16=bfloat16,
            in_graphs=bool(compile),
        )
        self._compile, self._compiles_next = compile, False
        self._all = Turn(self._trained, self._make_graphs())
        self._halves: tuple[Turn, Turn] | None = None
        # Pyro's names for what its own methods call.
        given: Any = self.estimator
        self.loss = given.loss if isinstance(given, ELBO) else given
        self.loss_and_grads = self.objective.loss_and_grads

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Takes one gradient step; the arguments go to model and guide.

        Returns:
            The loss, detached: a 0-dim tensor on its device, so that nothing waits for the device
            until it is read. (As in Pyro, a tuple of the losses of ReweightedWakeSleep.)

        Raises:
            FloatingPointError: If the loss is not finite; the parameters are as they were then.
                On a GPU, where looking costs time, every 100th step looks, and the parameters may
                be spoilt by the steps before.
        """
        loss = self._take(self._all, args, kwargs)
        self.steps += 1
        return loss

    def step_each(self, batches: Iterable[Any]) -> list[Any]:
        """Takes a step on each batch in turn, as `step` would, bit for bit.

        Compiled steps that take the optimizer's update go in one call of the compiled code, as by
        JAX's `lax.scan`: what Python does between two steps is done once for all of them, a fifth
        of the time of a small program. Other steps are taken one by one.

        Args:
            batches: What model and guide take: for each step a tensor, or a tuple of positional
                arguments. All are made before the first step.

        Returns:
            The loss of each step.

        Raises:
            FloatingPointError: As `step`; the steps before were taken.
            TypeError: If they are no batches.

        Example:
            >>> vae = VAE((1, 8, 8), latent_dim=2)
            >>> svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
            >>> len(svi.step_each(torch.zeros(3, 5, 1, 8, 8)))  # three batches of five data
            3
        """
        every = arguments_of_each(batches)
        losses: list[Any] = []
        while len(losses) < len(every):
            left = every[len(losses) :]
            losses += self._take_together(left) or [self.step(*left[0])]
        return losses

    @property
    def loops(self) -> bool:
        """Whether `step_each` would take steps like the last one in one call."""
        return self._all.graphs is not None and self._all.graphs.loops

    def step_guide(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a step of the parameters that are the guide's alone; the model stays as it is.

        What model and guide both use belongs to the model. `steps` does not count such steps, so
        that schedules go on with the model's.

        Returns:
            The loss, as `step`.

        Raises:
            FloatingPointError: As `step`.
            ValueError: If the guide has no parameter of its own.
        """
        return self._take(self._turn(guides=True), args, kwargs)

    def step_model(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a step of all parameters but the guide's own; arguments and loss are `step`'s."""
        loss = self._take(self._turn(guides=False), args, kwargs)
        self.steps += 1
        return loss

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The unconstrained parameters that steps so far have trained, by name."""
        return self._trained.parameters

    @property
    def mode(self) -> str:
        """How steps run at present: eager, captured or compiled."""
        return slowest({turn.graphs.mode for turn in self._turns() if turn.graphs is not None})

    @property
    def graphs(self) -> GraphReport:
        """How each kind of batch runs at present, and why no faster; it prints as a table."""
        reports = [turn.graphs.report() for turn in self._turns() if turn.graphs is not None]
        return (
            joined_reports(reports) if reports else GraphReport("eager", refusal="compile is False")
        )

    def compile_next(self) -> None:
        """Compiles the graph of the next step, if that step runs as one that is only captured.

        Losses and parameters change by rounding alone.
        """
        self._compiles_next = True

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss at the present step, without training."""
        return tree_map(Loss.of, self.objective.evaluate(args, kwargs, self.steps))

    def state_dict(self) -> dict[str, Any]:
        """The number of steps and the optimizer's state of each parameter, by its name.

        With a penalty that has one, its state, too.
        """
        state = {"steps": self.steps, "optimizer": self._descent.state_of(self.parameters)}
        penalty = self.objective.penalty
        of_penalty = {} if penalty is None else penalty.state_dict()
        if of_penalty:
            state["penalty"] = {name: tensor.clone() for name, tensor in of_penalty.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same program and optimizer."""
        self.steps = state["steps"]
        self._descent.load(self.parameters, state["optimizer"])
        if self.objective.penalty is not None and "penalty" in state:
            self.objective.penalty.load_state_dict(state["penalty"])

    def _take(self, turn: Turn, args: Any, kwargs: Any) -> Any:
        """Takes a step of what has its turn."""
        if not torch.is_grad_enabled():
            raise RuntimeError("svi.step trains, so it needs gradients; call svi.evaluate_loss")
        kind = (*map(type, args), *((key, type(value)) for key, value in sorted(kwargs.items())))
        outcome = None
        if turn.graphs is not None and self._prepare_graph(turn, kind):
            outcome = turn.graphs.run(args, kwargs, self.steps, turn.for_graphs(kind))
        loss, is_updated = outcome or self._run_eagerly(turn, kind, args, kwargs)
        try:
            check_finite(self.objective, loss, self.steps, self.parameters, args, kwargs)
            if not is_updated:
                self._descent.take(turn.of(kind), self._trained, self.steps)
        finally:
            if not is_updated and not self.keeps_gradients:
                self._trained.clear_gradients()
        return Loss.of(loss) if isinstance(loss, Tensor) else tree_map(Loss.of, loss)

    def _take_together(self, batches: Sequence[Sequence[Any]]) -> list[Any]:
        """Takes steps of the compiled graph of the last step, as many as go in one call."""
        kind, graphs = tuple(map(type, batches[0])), self._all.graphs
        if graphs is None or not self.loops or not torch.is_grad_enabled():
            return []
        if self._compiles_next or not self._prepare_graph(self._all, kind):
            return []
        alike = list(takewhile(lambda batch: tuple(map(type, batch)) == kind, batches))
        parameters = self._all.for_graphs(kind)
        values = graphs.run_each(alike, self.steps, parameters, self._descent.set_rates)
        losses = []
        for args, value in zip(alike, values, strict=False):
            check_finite(self.objective, value, self.steps, self.parameters, args, {})
            losses.append(Loss.of(value))
            self.steps += 1
        return losses

    def _turn(self, *, guides: bool) -> Turn:
        """The turn of the guide's own parameters, or that of all others."""
        if self._halves is None:
            own = GuidesOwn(self.model, self.guide, self._trained)
            self._halves = (
                Turn(self._trained, self._make_graphs(), own, guides=False),
                Turn(self._trained, self._make_graphs(), own, guides=True),
            )
        return self._halves[guides]

    def _turns(self) -> Sequence[Turn]:
        return (self._all, *(self._halves or ()))

    def _make_graphs(self) -> Graphs | None:
        if not self._compile:
            return None
        options = self._compile if isinstance(self._compile, Compile) else Compile()
        graphs = Graphs(self.objective, options, update=self._descent.in_graph)
        if self.objective.refusal is not None:
            graphs.refuse(self.objective.refusal, stacklevel=4)
        return graphs

    def _prepare_graph(self, turn: Turn, kind: Any) -> bool:
        """Whether a graph may run this step; all is ready for it then."""
        # a handler around the step may change what it does, so no graph is good for it
        if turn.graphs is None or _PYRO_STACK or not turn.is_current(kind):
            return False
        self._trained.clear_gradients()
        self._descent.set_rates(self.steps)  # which a graph reads that takes the update, too
        if self._compiles_next:
            self._compiles_next = False
            turn.graphs.compile_next()
        return True

    def _run_eagerly(self, turn: Turn, kind: Any, args: Any, kwargs: Any) -> Outcome:
        """The loss and its gradient by a run of the program, which shows what there is to train."""
        objective, trained = self.objective, self._trained
        weights = objective.weights(self.steps)
        trained.prepare(kind)
        trained.clear_gradients()
        if turn.own is not None:
            turn.own.look(kind, args, kwargs)
        with poutine.trace(param_only=True) as sites:
            if not objective.differentiable:
                loss = objective.add_gradients(args, kwargs)
                trained.look(kind, sites.trace, None, (args, kwargs))
                penalty = objective.penalized(torch.zeros(()), weights)
                objective.backward(penalty, trained.parameters.values())
                turn.leave_out_gradients(kind)
                return Outcome(loss, updated=False)
            loss = torch.as_tensor(objective.loss_of(args, kwargs, weights))
            trained.look(kind, sites.trace, loss, (args, kwargs))
            trained.clear_gradients()  # of parameters, too, that this step is the first to meet
            mine = trained.parameters if turn.own is None else turn.of(kind)
            value = objective.penalized(loss, weights)
            objective.backward(value, mine.values(), alone=turn.own is not None)
        return Outcome(loss.detach(), updated=False)


def _check(optim: Any, loss: Any) -> None:
    if not isinstance(optim, PyroOptim | Optimizer):
        raise TypeError(
            f"SVI needs an optimizer of pyro.optim or torch.optim, but got {optim!r}; "
            'for example pyro.optim.Adam({"lr": 1e-3})'
        )
    check_closure(optim)
    if isinstance(loss, type):
        raise TypeError(f"the loss is the class {loss.__name__}; write {loss.__name__}()")
    if loss is not None and not callable(loss):
        raise ValueError(
            f"the loss is {loss!r}, but must be an estimator, an ELBO of Pyro's, or a function of "
            "(model, guide, *args); write Trace_ELBO(), without quotes"
        )


def _warn_of_deprecated(**given: int) -> None:
    for name, value in given.items():
        if value:
            message = f"{name} of SVI is deprecated, as in Pyro: call step, or take Predictive"
            warnings.warn(message, FutureWarning, stacklevel=3)
