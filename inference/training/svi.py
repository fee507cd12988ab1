"""Stochastic variational inference: a drop-in for `pyro.infer.SVI`, with captured steps.

Parameters are Pyro's, under Pyro's names, in Pyro's store; optimizers are those that Pyro makes.
What Pyro silently leaves untrained is trained, too: plain modules, and a second module of a name.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyro.infer
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.abstract_infer import TracePosterior
from pyro.optim import PyroOptim
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map

from pyro_vae.inference.estimators import Estimator, Trace_ELBO, has_value
from pyro_vae.inference.graphs import Compile, GraphReport, Graphs
from pyro_vae.inference.terms import Function, explain_nonfinite
from pyro_vae.parameters import leaving_frozen
from pyro_vae.precision import layers_in_bfloat16

from .adam import AdamInGraph, take_step
from .loss import Loss
from .objective import Objective
from .optimizer import (
    OnePerParameter,
    check_clip_norm,
    check_closure,
    clip_each,
    set_learning_rates,
    set_state,
)
from .trained import Trained

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
        lr_schedule: A factor of the learning rates, from the step.
        compile: Whether to capture the step as a graph and compile it; a `Compile` says how. What
            cannot be captured runs eagerly, with one warning that says why. A compiled step may
            include Adam's, and then leaves no gradients behind.
        bfloat16: Whether linear and convolutional layers multiply in bfloat16, which is faster
            where the machine has it; parameters, draws, log densities and their sums stay float32.

    Attributes:
        estimator: The `loss` that was given.
        optimizer: The torch optimizer, or those of the Pyro optimizer read as one.
        steps: How many steps were taken.
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
    ) -> None:
        _check(optim, loss, clip_norm)
        TracePosterior.__init__(self, num_chains)
        self.model, self.guide, self.optim = model, guide, optim
        self.num_samples, self.num_steps = num_samples, num_steps
        _warn_of_deprecated(num_samples=num_samples, num_steps=num_steps)
        self.estimator = Trace_ELBO() if loss is None else loss
        self.clip_norm, self.lr_schedule, self.bfloat16 = clip_norm, lr_schedule, bfloat16
        self.steps = 0
        self.keeps_gradients = False
        self.optimizer = optim if isinstance(optim, Optimizer) else OnePerParameter(optim)
        self._objective = Objective(model, guide, self.estimator, loss_and_grads)
        self._trained = Trained(model, guide)
        self._saved: dict[str, Any] = {}  # optimizer states that wait for their parameters
        self._held_version = 0  # of the parameters that the torch optimizer was last seen to hold
        self._kind: Any = None  # of the call under way
        self._refusal = "compile is False"  # of graphs, where there are none
        self._graphs = self._make_graphs(compile)
        # Pyro's names for what its own methods call.
        given: Any = self.estimator
        self.loss = given.loss if isinstance(given, ELBO) else given
        self.loss_and_grads = self._objective.gradients or self._loss_and_grads

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
        if not torch.is_grad_enabled():
            raise RuntimeError("svi.step trains, so it needs gradients; call svi.evaluate_loss")
        kind = (*map(type, args), *((key, type(value)) for key, value in sorted(kwargs.items())))
        # a handler around the step may change what it does, so no graph is good for it
        if self._graphs is not None and not _PYRO_STACK and self._trained.is_current(kind):
            loss = self._graph_step(self._graphs, kind, args, kwargs)
            if loss is not None:
                return loss
        self._trained.prepare(kind)
        with self._running(), poutine.trace(param_only=True) as sites:
            self._zero_grad()
            if self._objective.differentiable:
                loss = self._objective.value(args, kwargs, self._objective.weights(self.steps))
                loss = loss if isinstance(loss, Tensor) else torch.as_tensor(loss)
                self._trained.look(kind, sites.trace, loss, (args, kwargs))
                self._check_finite(loss, args, kwargs)
                if loss.requires_grad:
                    self._zero_grad()
                    loss.backward(retain_graph=getattr(self.estimator, "retain_graph", None))
            else:
                loss = self._objective.add_gradients(args, kwargs)
                self._trained.look(kind, sites.trace, None, (args, kwargs))
                self._check_finite(loss, args, kwargs)
        self._update(self._trained.of(kind))
        return tree_map(Loss.of, loss)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The unconstrained parameters that steps so far have trained, by name."""
        return self._trained.parameters

    @property
    def mode(self) -> str:
        """How steps run at present: eager, captured or compiled."""
        return "eager" if self._graphs is None else self._graphs.mode

    @property
    def graphs(self) -> GraphReport:
        """How each kind of step runs at present, and why no faster; to be printed."""
        if self._graphs is None:
            return GraphReport("eager", refusal=self._refusal)
        return self._graphs.report()

    def compile_next(self) -> None:
        """Has the graph of the next step compiled, if that step runs as one that is only captured.

        Its losses and parameters then change by rounding alone if the option `eager_random` of
        `Compile` is set, else by other random numbers, too.
        """
        if self._graphs is not None:
            self._graphs.asked = True

    @torch.no_grad()
    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss at the present step, without training."""
        with self._running():
            if isinstance(self.estimator, Estimator) or not isinstance(self.estimator, ELBO):
                weights = self._objective.weights(self.steps)
                return tree_map(Loss.of, self._objective.value(args, kwargs, weights))
            return tree_map(Loss.of, self.loss(self.model, self.guide, *args, **kwargs))

    def state_dict(self) -> dict[str, Any]:
        """The number of steps and the optimizer's state of each parameter, by its name."""
        states, named = self.optimizer.state, self.parameters.items()
        return {"steps": self.steps, "optimizer": {n: states[p] for n, p in named if p in states}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same program and optimizer."""
        self.steps, self._saved = state["steps"], dict(state["optimizer"])
        set_state(self.optimizer, self.parameters, self._saved)

    def _make_graphs(self, compile: bool | Compile) -> Graphs | None:
        if not compile:
            return None
        if isinstance(self.estimator, Estimator) and self.estimator.in_chunks:
            name = type(self.estimator).__name__
            self._refusal = f"{name} has a chunk_size, and runs each chunk again for the gradient"
            warnings.warn(f"SVI runs eagerly, uncompiled: {self._refusal}", stacklevel=3)
            return None
        objective = self._objective = self._objective.for_graphs()

        def loss(args: Any, kwargs: Any, weights: Mapping[str, Any]) -> Tensor:
            with self._running():
                return objective.value(args, kwargs, weights)

        options = compile if isinstance(compile, Compile) else Compile()
        state, update = (lambda: objective.state), self._in_graph
        graphs = Graphs(self.model, self.guide, loss, options, state=state, update=update)
        if not objective.differentiable:
            name = type(self.estimator).__name__
            graphs.refuse(f"{name} adds its gradient to the parameters itself")
        return graphs

    @contextmanager
    def _running(self) -> Iterator[None]:
        with leaving_frozen(self._trained.frozen), layers_in_bfloat16(self.bfloat16):
            yield

    def _graph_step(self, graphs: Graphs, kind: Any, args: Any, kwargs: Any) -> Tensor | None:
        self._zero_grad()
        self._set_learning_rates()
        self._kind = kind
        weights = self._objective.weights(self.steps)
        parameters = list(self.parameters.values())
        loss = graphs.run(parameters, args, kwargs, weights, self._trained.version)
        if loss is None:
            return None
        self._check_finite(loss, args, kwargs)
        if graphs.updated:
            self.steps += 1
        else:
            self._update(self._trained.of(kind))
        return Loss.of(loss)

    def _in_graph(self, reached: Sequence[Tensor]) -> AdamInGraph | None:
        """The optimizer's step for a graph, of the parameters that it has gradients of."""
        clips = self.clip_norm is not None or getattr(self.optim, "pt_clip_args", None)
        ids = {id(parameter) for parameter in reached}
        rest = any(id(p) not in ids for p in self._trained.of(self._kind).values())
        return None if clips or rest else AdamInGraph.of(self.optimizer, reached)

    def _loss_and_grads(self, *args: Any, **kwargs: Any) -> Any:
        """What Pyro makes of a loss that it is to differentiate itself."""
        loss = self._objective.loss
        if isinstance(loss, ELBO):
            return loss.loss_and_grads(*args, **kwargs)
        value = loss(*args, **kwargs)
        if getattr(value, "requires_grad", False):
            value.backward(retain_graph=True)
        return value

    def _check_finite(self, loss: Any, args: Any, kwargs: Any) -> None:
        if not has_value(self.estimator):
            return
        for part in (loss,) if isinstance(loss, Tensor) else tree_leaves(loss):
            part = torch.as_tensor(part)
            if part.device.type != "cpu" and self.steps % 100:
                continue
            # for one number Python's is quicker, which a step of 1 ms feels
            if math.isfinite(part.item()) if part.numel() == 1 else part.isfinite().all():
                continue
            why = explain_nonfinite(self.model, self.guide, self.parameters, args, kwargs)
            if part.device.type != "cpu" and self.steps:
                why += "; the parameters may be spoilt, as only every 100th step looks on a GPU"
            raise FloatingPointError(f"the loss is {part.tolist()} at step {self.steps}: {why}")

    def _zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def _update(self, parameters: Mapping[str, Tensor]) -> None:
        """Steps the parameters that the loss of this step has met."""
        if isinstance(self.optimizer, OnePerParameter):
            self.optimizer.add(parameters.values())
        elif self._held_version != self._trained.version:
            self._held_version = self._trained.version
            _check_held(self.optimizer, self.parameters)
        if self._saved:
            set_state(self.optimizer, parameters, self._saved)
            self._saved = {n: s for n, s in self._saved.items() if n not in parameters}
        at_rest = [parameter for parameter in parameters.values() if parameter.grad is None]
        states = self.optimizer.state if at_rest else {}
        for parameter in at_rest:
            if states.get(parameter):  # as in Pyro, where momentum moves it on
                parameter.grad = torch.zeros_like(parameter)
        if isinstance(self.optimizer, OnePerParameter):
            clip_each(self.optim, parameters.values())
        if self.clip_norm is not None:
            clip_grad_norm_(parameters.values(), self.clip_norm)
        self._set_learning_rates()
        if isinstance(self.optimizer, OnePerParameter):
            self.optimizer.step(list(parameters.values()))
        else:
            take_step(self.optimizer)
        if not self.keeps_gradients:
            self._zero_grad()
        self.steps += 1

    def _set_learning_rates(self) -> None:
        if self.lr_schedule is not None:
            set_learning_rates(self.optimizer, self.lr_schedule(self.steps))


def _check(optim: Any, loss: Any, clip_norm: float | None) -> None:
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
    check_clip_norm(clip_norm)


def _warn_of_deprecated(**given: int) -> None:
    for name, value in given.items():
        if value:
            message = f"{name} of SVI is deprecated, as in Pyro: call step, or take Predictive"
            warnings.warn(message, FutureWarning, stacklevel=3)


def _check_held(optimizer: Any, parameters: Mapping[str, Tensor]) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, parameter in parameters.items() if id(parameter) not in held]
    if len(missing) == len(parameters):
        raise ValueError(
            f"the optimizer holds none of the program's {len(missing)} parameters; make it over "
            "the parameters of this model and guide"
        )
    if missing:
        warnings.warn(
            f"the optimizer does not hold {', '.join(missing)}, which stay as they are; "
            "requires_grad_(False) says that this is meant",
            stacklevel=4,
        )
