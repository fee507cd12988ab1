"""What every estimator shares: run guide and model together, refuse what would be wrong, sum up."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pyro_vae.inference.terms import (
    Function,
    Particles,
    Terms,
    check_densities,
    check_own_bounds,
    check_same_masks,
    check_support,
    collect,
    explain_nonfinite,
    find_particles,
    mean_of_others,
    run,
    weighted,
)
from pyro_vae.repetition import repetition

from .factor_weights import ByName, FactorWeights, Weight, check_names, number
from .formula import Formula, with_rest
from .modules import WithModules
from .notation import Notation

__all__ = ["Estimator", "describes_formula", "with_gradient"]

# What a subclass changes an estimator's value or gradient by.
_FORMULA = {"bound", "differentiable_loss", "global_objective", "kl", "objective", "terms"}


@dataclass(frozen=True)
class Estimator(WithModules, ELBO):
    """A bound on log p(x): a small value that runs a program and returns minus its bound.

    A subclass writes one formula, `objective`. Its fields are numbers, schedules or modules.
    `at(step)` puts the numbers of a step in. It works in `pyro_vae.inference.SVI` and in
    `pyro.infer.SVI`.

    A module, such as a critic or a baseline that averages over past steps, is trained by the same
    steps as the program, follows the data to their device, and is saved and resumed with the
    training. Its parameters have names such as "estimator.critic.weight", by which an optimizer of
    Pyro's may give them a learning rate of their own. What the module is to learn from is a term of
    `objective` that depends on detached draws, and what the program is to learn from the module a
    term that depends on its detached parameters: so one loss has the gradients of both.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        factors: The weights of the program's training factors, by name, numbers or schedules; 1
            for those not named. They are no part of the bound; see `pyro_vae.training_factor`.
    """

    num_particles: int = 1
    max_plate_nesting: float = math.inf
    # How this program's particles are run, once `prepared` has found it.
    particles: Particles | None = field(default=None, kw_only=True, repr=False, compare=False)
    factors: Mapping[str, Weight] = field(default=FactorWeights(), kw_only=True)

    # What else Pyro's base class holds, and its methods read.
    vectorize_particles: ClassVar[bool] = True
    retain_graph: ClassVar[bool | None] = None
    strict_enumeration_warning: ClassVar[bool] = True

    # Whether draws are detached, reparameterized or not; if not, each latent of the guide must have
    # rsample.
    detaches_draws: ClassVar[bool] = False
    # Whether model and guide may share what both compute from the draws, by `once`. Not where the
    # gradient through the draws is another one in the two, as with `Terms.gate`. Like `is_linear`
    # it is asked of the class that states the formula.
    shares_path: ClassVar[bool] = False
    # A sentence on the gradient, with LaTeX in it, where it is not the plain one of the value.
    about_gradient: ClassVar[str] = ""

    @property
    def in_chunks(self) -> bool:
        """Whether the particles run in chunks, again for the gradient, which no graph can hold."""
        return False

    def __post_init__(self) -> None:
        if not isinstance(self.num_particles, Integral):
            raise ValueError(
                f"num_particles of {type(self).__name__} must be an integer, "
                f"but is {self.num_particles!r}"
            )
        if self.num_particles < 1:
            raise ValueError(
                f"{type(self).__name__} needs at least one particle, "
                f"but num_particles is {self.num_particles}"
            )
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, int | float) and _is_plain_mapping(value):
                raise ValueError(
                    f"{each.name} of {type(self).__name__} is {value!r:.80}, but must be one "
                    "number or schedule for all sites; Trace_ELBO and what derives from it take "
                    "one for each, as beta and free bits"
                )
        weights = FactorWeights(self.factors, type(self).__name__)
        object.__setattr__(self, "factors", weights)  # a copy, as the value is not to change

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,), from the terms; it goes up."""
        raise NotImplementedError

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The value as on a blackboard, in addends with their values on the terms of a batch.

        A subclass that changes the value must say it anew; else it is the ELBO and a rest.
        """
        return with_rest(self, t, of)

    def global_objective(self, t: Terms) -> Tensor | float:
        """What latents outside the data plate add to the sum of the bounds."""
        return 0.0

    def weighed_factors(self, t: Terms) -> Tensor | float:
        """What the training factors add to the sum of the bounds: the sum of w E_q[factor].

        Where no gradient flows through the draws it is the score function's, each draw judged by
        the datum's others.
        """
        stated = (*t.factors, *t.global_factors)
        check_names(self.factors, stated, type(self).__name__)
        each = self._weighed(t.factors)  # (K, N)
        together = self._weighed(t.global_factors)  # (K, 1)
        if self.detaches_draws and torch.is_grad_enabled():
            each = _with_score(each, t.log_q)
            together = _with_score(together, t.log_q.sum(-1, keepdim=True))
        means = [(t.scale, each), (1.0, together)]
        return sum(s * f.mean(0).sum() for s, f in means if isinstance(f, Tensor))

    def _weighed(self, factors: Mapping[str, Tensor]) -> Tensor | float:
        weights = {name: number(self.factors.get(name, 1.0)) for name in factors}
        return sum(weighted(weight, factors[name]) for name, weight in weights.items())

    def check(self, t: Terms) -> None:
        """Refuses a program for which this estimator would be wrong.

        Raises:
            ValueError: With a sentence that names the site and says what to use instead.
        """
        check_own_bounds(t, type(self).__name__)
        if is_validation_enabled():  # graphs cannot look at masks
            check_same_masks(t, type(self).__name__)
        if t.global_latents:
            raise ValueError(
                f"{type(self).__name__} is a bound for each datum, but {_names(t.global_latents)} "
                "stand outside the data plate and are shared by all data; use Trace_ELBO"
            )
        if self.particles is not None and self.particles.coupling:
            raise ValueError(
                f"{type(self).__name__} is a bound for each datum, but "
                f"{_names(self.particles.coupling)}, outside the data plate, depends on the "
                "latents of all data; put it in the plate or use Trace_ELBO"
            )
        if not self.detaches_draws:
            self.check_reparameterized(t)
        elif torch.is_grad_enabled():
            latents = t.parts[0].latents.items()
            check_support({name: z.q for name, z in latents}, type(self).__name__)

    def check_reparameterized(self, t: Terms) -> None:
        """Refuses latents without reparameterized draws where a gradient is asked for."""
        latents = {**t.latents, **t.global_latents}
        drawn = [name for name, latent in latents.items() if not latent.reparameterized]
        if drawn and torch.is_grad_enabled():
            raise ValueError(
                f"{type(self).__name__} needs reparameterized draws (rsample), but those of "
                f"{drawn} are not; use Trace_ELBO, ScoreFunction or VIMCO"
            )

    @property
    def is_linear(self) -> bool:
        """Whether its bound is linear in log p(x, z).

        If so, an unbiased estimate of a lower bound serves as log p, as in an `EstimatedDensity`.
        A subclass that changes the formula must say it anew.
        """
        return False

    @property
    def is_bound(self) -> bool:
        """Whether its value is the ELBO or a tighter bound on log p(x), or just an objective."""
        return False

    @property
    def compares_epochs(self) -> bool:
        """Whether the epoch of its lowest loss is the best one, so that `fit` keeps that.

        It is not where a module that is trained changes what the loss is of.
        """
        return True

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """The estimator whose averaged gradient is that of the value that this one reports.

        `compare` judges the bias of this estimator's gradient by it. A subclass that changes the
        formula must say it anew.

        Args:
            reparameterized: Whether the program's latents have reparameterized draws.

        Returns:
            None where no such estimator is known, and the bias is not judged.
        """
        return None

    def at(self, step: int) -> Self:
        """This estimator with each schedule replaced by its value at a step."""
        return self.with_values({name: s(step) for name, s in self.schedules().items()})

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """This estimator with values, numbers or 0-dim tensors, in the place of `schedules`."""
        changed: dict[str, Any] = {}
        for name, value in values.items():
            weights, _, site = name.partition(".")
            if site:
                value = {**changed.get(weights, getattr(self, weights)), site: value}
            changed[weights] = value
        return replace(self, **changed) if changed else self

    def schedules(self) -> dict[str, Callable[[int], float]]:
        """The schedules, by name: functions where a field's default is a number.

        Those of a field that is a mapping have its name and their own in it, such as "beta.z_1",
        or "factors.label" for the training factor "label".
        """
        values: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, ByName):
                values |= {f"{each.name}.{name}": weight for name, weight in value.items()}
            elif isinstance(each.default, int | float):
                values[each.name] = value
        return {name: value for name, value in values.items() if callable(value)}

    def prepared(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Self:
        """This estimator, knowing how to run the particles of this program.

        Finding it out takes some runs of the program, so `SVI` calls this once. An estimator that
        is not prepared finds it out at each call.
        """
        several = self.num_particles > 1 and self.vectorize_particles
        if self.particles is not None or not (several or self.detaches_draws):
            return self
        particles = find_particles(model, guide, args, kwargs, self.max_plate_nesting)
        return replace(self, max_plate_nesting=particles.nesting, particles=particles)

    def terms(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Terms:
        """The terms of the bound from one run of the program."""
        ready = self.prepared(model, guide, *args, **kwargs)
        t = ready.collected(self.num_particles, model, guide, args, kwargs)
        ready.accept(t)
        return t

    def accept(self, t: Terms) -> None:
        """Checks densities, and what the estimator itself asks of a program: see `check`."""
        linear = self.is_linear and describes_formula(self, "is_linear")
        check_densities(t.parts[0].traces, type(self).__name__, linear=linear)
        self.check(t)

    def collected(
        self,
        num_particles: int,
        model: Function,
        guide: Function,
        args: Any,
        kwargs: Any,
        subsample: Any = None,
    ) -> Terms:
        """The terms of `num_particles` particles, not checked; see `collect`."""
        self.offer_modules(args, kwargs)
        return collect(
            model,
            guide,
            args,
            kwargs,
            num_particles=num_particles,
            max_plate_nesting=self.max_plate_nesting,
            particles=self.particles,
            detach_draws=self.detaches_draws,
            subsample=subsample,
            share=self.shares_path and describes_formula(self, "shares_path"),
        )

    def differentiable_loss(
        self, model: Function, guide: Function, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound, summed over the data, as a tensor with its gradient.

        Where the program states training factors, these are taken off, each with its weight.
        """
        if self.num_particles > 1 and not self.vectorize_particles:
            one = replace(self, num_particles=1)
            total = one.differentiable_loss(model, guide, *args, **kwargs)
            with repetition():
                for _ in range(self.num_particles - 1):
                    total = total + one.differentiable_loss(model, guide, *args, **kwargs)
            return total / self.num_particles
        t = self.terms(model, guide, *args, **kwargs)
        # first, as an objective may change how gradients flow through the draws
        beside = self.weighed_factors(t)
        bounds = _one_for_each_datum(self, self.objective(t))
        bound = t.scale * bounds.sum() + self.global_objective(t)
        outside = [log_prob.mean() for log_prob in t.outside.values()]
        return -sum(outside, start=bound + beside)

    def loss(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> float:
        """Minus the bound, summed over the data, as a number."""
        with torch.no_grad():
            loss = self.differentiable_loss(model, guide, *args, **kwargs).item()
        return _finite(loss, model, guide, args, kwargs)

    def loss_and_grads(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> float:
        """Minus the bound; its gradient is added to the parameters' `grad`."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        value = _finite(loss.item(), model, guide, args, kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return value

    def _get_trace(self, model: Function, guide: Function, args: Any, kwargs: Any) -> Any:
        ran = run(model, guide, args, kwargs, max_plate_nesting=self.max_plate_nesting)
        return ran.model, ran.guide  # what Pyro's base class asks of a subclass


def describes_formula(estimator: Estimator, name: str) -> bool:
    """Whether what an estimator's attribute says holds of its formula.

    It does not where a subclass has changed the formula and not said the attribute anew.
    """
    for kind in type(estimator).__mro__:
        if name in vars(kind):
            return True
        if _FORMULA & vars(kind).keys():
            break
    return False


def _is_plain_mapping(value: Any) -> bool:
    """Whether it is a mapping that the class has not made weights by name of."""
    return isinstance(value, Mapping) and not isinstance(value, ByName)


def _with_score(factor: Tensor | float, log_q: Tensor) -> Tensor | float:
    """A factor of detached draws, (K, N), with the gradient of its expectation over them."""
    if not isinstance(factor, Tensor):
        return factor
    value = factor.detach().expand_as(log_q)
    baseline = mean_of_others(value) if len(value) > 1 else 0.0
    score = (value - baseline) * log_q
    return factor + (score - score.detach())


def with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of the one with the gradient of the other, if that is not infinite."""
    change = torch.where(surrogate.isinf(), 0.0, surrogate - surrogate.detach())
    return value.detach() + change


def _finite(loss: float, model: Function, guide: Function, args: Any, kwargs: Any) -> float:
    if not math.isfinite(loss):
        why = explain_nonfinite(model, guide, {}, args, kwargs)
        raise FloatingPointError(f"the loss is {loss}: {why}")
    return loss


def _names(sites: Any) -> str:
    return ", ".join(map(repr, sites))


def _one_for_each_datum(estimator: Estimator, bounds: Any) -> Tensor:
    """The bounds, (N,): of another shape they are a user's mistake, and their sum no loss."""
    if isinstance(bounds, Tensor) and bounds.dim() == 1:
        return bounds
    found = f"of shape {tuple(bounds.shape)}" if isinstance(bounds, Tensor) else repr(bounds)
    raise ValueError(
        f"the objective of {type(estimator).__name__} is {found}, but must be one number for each "
        "datum, (N,): take the mean over the particles, .mean(0), and none over the data"
    )
