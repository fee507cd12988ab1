"""Stochastic variational inference: a drop-in for `pyro.infer.SVI`, with one optimizer underneath.

It trains every parameter that the loss depends on, wherever it lives, and keeps the parameters of
two modules of one class apart; Pyro's global store silently trains nothing in both cases.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from pyro_vae.program import leaves, localize, named_parameters

from .adam import AdamInGraph, take_step
from .capture import Compile, Graphs
from .diagnostics import explain_nonfinite
from .elbo import Trace_ELBO, TraceMeanField_ELBO
from .estimator import Estimator, Function, samples
from .optimizer import add_parameters, clip_each, set_learning_rates, set_state
from .precision import layers_in_bfloat16

__all__ = ["SVI"]


class SVI:
    """Trains a model and its guide with an estimator's gradients, as `pyro.infer.SVI` does.

    The state is in `svi.state_dict()`. A Pyro optimizer's own `save` and `get_state` stay empty,
    as it lends its constructor and arguments to the one torch optimizer `svi.optimizer`.

    Args:
        model: The model.
        guide: Its guide, which takes the same arguments.
        optim: A Pyro optimizer, whose constructor and arguments are used, those that depend on the
            parameter included; or a torch optimizer over the parameters to train.
        loss: An estimator of ours or of Pyro's, or a function of (model, guide, *args) that
            returns a differentiable loss.
        clip_norm: Scales the gradient of all parameters together down to this norm.
        lr_schedule: A factor of the learning rates, from the step.
        compile: Whether to capture the step as a graph and compile it; a `Compile` says how. What
            cannot be captured runs eagerly, with one warning that says why. A compiled step may
            include Adam's, and then leaves no gradients behind.
        bfloat16: Whether linear and convolutional layers multiply in bfloat16, which is faster
            where the machine has it; parameters, draws, log densities and their sums stay float32.

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
        loss: ELBO | Callable[..., Tensor] | None = None,
        *,
        clip_norm: float | None = None,
        lr_schedule: Callable[[int], float] | None = None,
        compile: bool | Compile = False,
        bfloat16: bool = False,
    ) -> None:
        if not isinstance(optim, PyroOptim | Optimizer):
            raise TypeError(
                f"SVI needs an optimizer of pyro.optim or torch.optim, but got {optim!r}; "
                'for example pyro.optim.Adam({"lr": 1e-3})'
            )
        if isinstance(loss, type):
            raise TypeError(f"the loss is the class {loss.__name__}; write {loss.__name__}()")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, but is {clip_norm}")
        self.model, self.guide, self.optim = model, guide, optim
        self.loss = Trace_ELBO() if loss is None else loss
        self.clip_norm, self.lr_schedule, self.bfloat16 = clip_norm, lr_schedule, bfloat16
        self.steps = 0
        self.optimizer = optim if isinstance(optim, Optimizer) else None
        self.parameters: dict[str, Tensor] = {}  # found so far, unconstrained
        self._ids: set[int] = set()
        self._calls: set[Any] = set()
        self._saved: dict[str, Any] = {}  # optimizer states that wait for their parameters
        localize(model, guide)
        self._graphs: Graphs | None = None
        if compile and isinstance(self.loss, Estimator) and self.loss.in_chunks:
            warnings.warn(
                f"SVI runs eagerly, uncompiled: {type(self.loss).__name__} has a chunk_size, and "
                "runs each chunk again for the gradient",
                stacklevel=2,
            )
        elif compile:
            options = compile if isinstance(compile, Compile) else Compile()
            self.loss = _ours(self.loss)
            self._graphs = Graphs(
                model, guide, self._weighted_loss, options, state=self._state, update=self._in_graph
            )

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Takes one gradient step; the arguments go to model and guide.

        Returns:
            The loss, detached: a 0-dim tensor on its device, so that nothing waits for the device
            until it is read. (As in Pyro, one value each of the losses of ReweightedWakeSleep.)

        Raises:
            FloatingPointError: If the loss is not finite; the parameters are as they were then.
                On a GPU, where looking costs time, every 100th step looks, and the parameters may
                be spoilt by the steps before.
        """
        if not torch.is_grad_enabled():
            raise RuntimeError("svi.step trains, so it needs gradients; call svi.evaluate_loss")
        # A new kind of call, say with labels, may reach parameters that others do not.
        call = (*map(type, args), *((key, type(value)) for key, value in sorted(kwargs.items())))
        new_call = call not in self._calls
        self._calls.add(call)
        if self._graphs is not None and not new_call:
            loss = self._graph_step(self._graphs, args, kwargs)
            if loss is not None:
                return loss
        with self._running(), poutine.trace(param_only=True) as sites:
            if hasattr(self.loss, "differentiable_loss") or not isinstance(self.loss, ELBO):
                loss = self._differentiable_loss(args, kwargs)
                self._find_parameters(sites.trace, [loss] if new_call else [])
                self._check_trainable(loss)
                self._check_finite(loss, args, kwargs)
                self._zero_grad()
                loss.backward()
            else:
                reached = self._log_densities(args, kwargs) if new_call else []
                self._find_parameters(sites.trace, reached)
                self._zero_grad()
                model = _with_a_param_site(self.model)
                loss = torch.as_tensor(self.loss.loss_and_grads(model, self.guide, *args, **kwargs))
                self._check_finite(loss, args, kwargs)
        self._update()
        return loss.detach()

    @property
    def mode(self) -> str:
        """How steps run at present: eager, captured or compiled."""
        return "eager" if self._graphs is None else self._graphs.mode

    @torch.no_grad()
    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss at the present step, without training."""
        with self._running():
            if isinstance(self.loss, ELBO) and not isinstance(self.loss, Estimator):
                return torch.as_tensor(self.loss.loss(self.model, self.guide, *args, **kwargs))
            return self._differentiable_loss(args, kwargs)

    def state_dict(self) -> dict[str, Any]:
        """The number of steps and the optimizer's state of each parameter, by its name."""
        states = self.optimizer.state if self.optimizer else {}
        named = self.parameters.items()
        return {"steps": self.steps, "optimizer": {n: states[p] for n, p in named if p in states}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same program and optimizer."""
        self.steps, self._saved = state["steps"], dict(state["optimizer"])
        if self.optimizer is not None:
            set_state(self.optimizer, self.parameters, self._saved)

    @contextmanager
    def _running(self) -> Iterator[None]:
        with (
            pyro.settings.context(module_local_params=True),
            layers_in_bfloat16(self.bfloat16),
        ):
            yield

    def _graph_step(self, graphs: Graphs, args: Any, kwargs: Any) -> Tensor | None:
        self._zero_grad()
        schedules = self.loss.schedules() if isinstance(self.loss, Estimator) else {}
        weights = {name: schedule(self.steps) for name, schedule in schedules.items()}
        parameters = list(self.parameters.values())
        self._set_learning_rates()
        loss = graphs.run(parameters, args, kwargs, weights)
        if loss is None:
            return None
        self._check_finite(loss, args, kwargs)
        if graphs.updated:
            self.steps += 1
        else:
            self._update()
        return loss

    def _in_graph(self, reached: Sequence[Tensor]) -> AdamInGraph | None:
        """The optimizer's step for a graph, of the parameters that it has gradients of."""
        clips = self.clip_norm is not None or getattr(self.optim, "pt_clip_args", None)
        if clips or self.optimizer is None:
            return None
        return AdamInGraph.of(self.optimizer, reached)

    def _state(self) -> Sequence[Tensor]:
        return self.loss.state if isinstance(self.loss, Estimator) else ()

    def _weighted_loss(self, args: Any, kwargs: Any, weights: Mapping[str, Any]) -> Tensor:
        with self._running():
            if isinstance(self.loss, Estimator):
                loss = replace(self.loss, **weights)
                return loss.differentiable_loss(self.model, self.guide, *args, **kwargs)
            return self._differentiable_loss(args, kwargs)

    def _differentiable_loss(self, args: Any, kwargs: Any) -> Tensor:
        if not isinstance(self.loss, ELBO):
            return self.loss(self.model, self.guide, *args, **kwargs)
        loss = self.loss
        if isinstance(loss, Estimator):
            self.loss = loss = loss.prepared(self.model, self.guide, *args, **kwargs)
            loss = loss.at(self.steps)
        return loss.differentiable_loss(self.model, self.guide, *args, **kwargs)

    def _find_parameters(self, sites: Any, reached: Iterable[Tensor]) -> None:
        found = {} if self.parameters else named_parameters(self.model, self.guide)
        found |= {name: _unconstrained(site["value"]) for name, site in sites.nodes.items()}
        unnamed = [("", leaf) for tensor in reached for leaf in leaves(tensor)]
        new = {}
        for name, parameter in [*found.items(), *unnamed]:
            if parameter.requires_grad and id(parameter) not in self._ids:
                self._ids.add(id(parameter))
                new[name or f"parameter_{len(self._ids)}"] = parameter
        if not new:
            return
        self.parameters.update(new)
        if isinstance(self.optim, PyroOptim):
            self.optimizer = add_parameters(self.optimizer, self.optim, new)
        else:
            _check_held(self.optim, self.parameters)
        if self.optimizer is not None:
            set_state(self.optimizer, new, self._saved)

    def _log_densities(self, args: Any, kwargs: Any) -> list[Tensor]:
        """The pair's log densities from a run that leaves the random generators as they are."""
        with torch.random.fork_rng():
            guide_trace = poutine.trace(self.guide).get_trace(*args, **kwargs)
            replayed = poutine.replay(self.model, trace=guide_trace)
            model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
        sites = [site for trace in (guide_trace, model_trace) for site in samples(trace)]
        return [site["fn"].log_prob(site["value"]) for site in sites]

    def _check_finite(self, loss: Tensor, args: Any, kwargs: Any) -> None:
        if loss.device.type != "cpu" and self.steps % 100:
            return
        # for one number Python's is quicker, which a step of 1 ms feels
        if not (math.isfinite(loss.item()) if loss.numel() == 1 else loss.isfinite().all()):
            why = explain_nonfinite(self.model, self.guide, self.parameters, args, kwargs)
            if loss.device.type != "cpu" and self.steps:
                why += "; the parameters may be spoilt, as only every 100th step looks on a GPU"
            raise FloatingPointError(f"the loss is {loss.tolist()} at step {self.steps}: {why}")

    def _check_trainable(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise ValueError(
                "the loss depends on no parameter, so there is nothing to train; give model or "
                "guide an nn.Module, a PyroParam or a pyro.param that is not frozen"
            )

    def _zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def _update(self) -> None:
        if self.optimizer is None:  # of a loss that calls backward itself
            raise ValueError("the loss depends on no parameter, so there is nothing to train")
        if isinstance(self.optim, PyroOptim):
            clip_each(self.optim, self.parameters)
        if self.clip_norm is not None:
            clip_grad_norm_(self.parameters.values(), self.clip_norm)
        self._set_learning_rates()
        take_step(self.optimizer)
        self.steps += 1

    def _set_learning_rates(self) -> None:
        if self.lr_schedule is not None and self.optimizer is not None:
            set_learning_rates(self.optimizer, self.lr_schedule(self.steps))


def _ours(loss: Any) -> Any:
    """Our estimator for Pyro's of the same name, which waits for numbers and cannot be captured."""
    twins = {pyro.infer.Trace_ELBO: Trace_ELBO, pyro.infer.TraceMeanField_ELBO: TraceMeanField_ELBO}
    if type(loss) not in twins:
        return loss
    vectorized = loss.vectorize_particles and loss.num_particles > 1
    nesting = loss.max_plate_nesting - 1 if vectorized else loss.max_plate_nesting
    return twins[type(loss)](loss.num_particles, nesting, loss.vectorize_particles)


def _unconstrained(value: Tensor) -> Tensor:
    return value.unconstrained() if hasattr(value, "unconstrained") else value


def _check_held(optimizer: Optimizer, parameters: dict[str, Tensor]) -> None:
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


def _with_a_param_site(model: Function) -> Function:
    """Gives plain modules what some of Pyro's ELBOs ask for before they call backward."""

    def with_a_param_site(*args: Any, **kwargs: Any) -> Any:
        message = poutine.runtime.effectful(type="param")(lambda *_, **__: torch.zeros(()))
        message("a param site", name="a param site")
        return model(*args, **kwargs)

    return with_a_param_site
