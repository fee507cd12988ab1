"""Draws of bounds and gradients by training steps at learning rate 0, in turns and timed."""

import copy
import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.batches import Data, batch_of, num_data
from pyro_vae.blame import on_data
from pyro_vae.inference.estimators import Estimator, Trace_ELBO, check_particles
from pyro_vae.inference.evaluation import mean_and_error, points_of_guide
from pyro_vae.inference.terms import collect, otherwise_masked, particle_nesting
from pyro_vae.inference.training import SVI
from pyro_vae.program import Program, device_of, evaluating, modules_of

from .gradients import (
    Gradient,
    Moments,
    check_finite,
    exact_elbo,
    flat,
    is_bound,
    parts_of,
    reference,
)
from .peak_memory import peak_memory
from .result import HeldOut, Row

__all__ = ["Bench", "Cell"]

# What says that an estimator cannot be had: its check, a loss that is not finite, a memory that is
# too small, or networks that do not take a dimension of particles.
REFUSALS = (ValueError, FloatingPointError, RuntimeError)
LATE = 10**9  # a step at which schedules are at their end


@dataclass
class Cell:
    """One estimator with one number of particles, and what has been measured of it."""

    name: str
    given: ELBO
    num_particles: int
    refusal: str | None = None
    bounds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    moments: dict[str, Moments] = field(default_factory=dict)
    gradients: dict[str, Gradient] = field(default_factory=dict)
    reference: "Cell | None" = None
    held_out: dict[str, HeldOut] = field(default_factory=dict)
    is_reference: bool = False
    is_bound: bool = True

    def estimator(self) -> ELBO:
        """A copy of the estimator with this number of particles, its modules copied too."""
        estimator = copy.deepcopy(self.given)
        if isinstance(estimator, Estimator):
            return replace(estimator, num_particles=self.num_particles)
        estimator.num_particles = self.num_particles
        return estimator

    def late(self) -> ELBO:
        """The same with its schedules at their last values."""
        estimator = self.estimator()
        return estimator.at(LATE) if isinstance(estimator, Estimator) else estimator

    def refuse(self, error: Exception) -> None:
        """Keeps the first line of an error as the reason why there is no measurement."""
        self.refusal = str(error).split("\n")[0] or type(error).__name__

    def row(self) -> Row:
        """What has been measured, as numbers."""
        if self.refusal is not None:
            return Row(self.name, self.num_particles, self.refusal)
        bound, error = mean_and_error(torch.tensor(self.bounds, dtype=torch.float64))
        return Row(
            self.name,
            self.num_particles,
            bound=bound,
            bound_error=error if math.isfinite(error) else None,
            is_bound=self.is_bound,
            milliseconds=1000 * median(self.seconds),
            memory=self.memory,
            model=self.gradients.get("model"),
            guide=self.gradients.get("guide"),
            equal_steps=self.held_out.get("equal_steps"),
            equal_time=self.held_out.get("equal_time"),
        )

    def finish(self) -> None:
        """Computes what is reported of the gradients, and frees their moments, which are large."""
        if self.is_reference or self.refusal is not None:
            return
        others: Mapping[str, Moments] = {}
        if self.reference is not None:
            if self.reference.refusal is not None:
                self.refusal = f"its reference cannot be had: {self.reference.refusal}"
                return
            others = self.reference.moments
        self.gradients = {p: Gradient.of(m, others.get(p)) for p, m in self.moments.items()}
        self.moments = {}


class Bench:
    """A program and a batch, on which estimators take steps at learning rate 0.

    Leaving it puts all parameters, buffers and gradients back.

    Args:
        program: The program.
        data: The batch; see `batch_of`.
        y: Labels of a tensor.
    """

    def __init__(self, program: Program, data: Data, y: Tensor | None = None) -> None:
        self.program, self.device = program, device_of(program)
        self.batch = tuple(batch_of(program, data, y).values())
        self.num_data = num_data(self.batch)
        self._saved: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._steps: dict[int, SVI] = {}

    def __enter__(self) -> "Bench":
        for module in modules_of(self.program.model, self.program.guide).values():
            self._save((*module.parameters(), *module.buffers()))
        with on_data(self.batch[0].shape):
            t = collect(self.program.model, self.program.guide, self.batch, {})
        for module in modules_of(self.program.model, self.program.guide).values():
            self._save(module.parameters())  # those too that an autoguide makes when it first runs
        # the data that the loss stands for, of which a plate may take a part by itself
        self.size = t.scale * (self.num_data if t.layout.data is None else t.log_px.shape[1])
        self.has_points = bool(points_of_guide(t))  # without a density, so that nothing is a bound
        latents = (*t.latents.values(), *t.global_latents.values())
        self.factors = (*t.factors, *t.global_factors)
        self.otherwise_masked = otherwise_masked(*t.traces)
        if self.otherwise_masked:
            warnings.warn(
                f"latents {self.otherwise_masked} are masked otherwise in the model than in the "
                "guide, so that no value is a bound; give them one mask",
                stacklevel=3,
            )
        self.reparameterized = all(latent.reparameterized for latent in latents)
        self.parts = {part: tensors for part, tensors in parts_of(t).items() if tensors}
        self._save(p for tensors in self.parts.values() for p in tensors)
        trained = [tensor for tensor, *_ in self._saved.values() if tensor.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=0.0, fused=True)  # one state for all
        with evaluating(self.program):
            self.in_one_plate = particle_nesting(self.program, *self.batch) is not None
        return self

    def __exit__(self, *exception: object) -> None:
        self.restore()
        for tensor, _, gradient in self._saved.values():
            tensor.grad = gradient

    def restore(self) -> None:
        """Puts the parameters and buffers back."""
        with torch.no_grad():
            for tensor, value, _ in self._saved.values():
                tensor.copy_(value)

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Takes first steps, which show which estimators refuse the program, and their memory."""
        for cell in cells:
            try:
                self._start(cell)
            except REFUSALS as error:
                cell.refuse(error)
                self.restore()

    def references(self, cells: Sequence[Cell]) -> list[Cell]:
        """The references of the estimators' gradients; those with one bound share a reference."""
        # Any number of draws at once serves the ELBO; so many still fit into the memory.
        most = min(max(cell.num_particles for cell in cells), 64) if self.in_one_plate else 1
        references: dict[ELBO, Cell] = {}
        for cell in cells:
            wanted = reference(cell.late(), reparameterized=self.reparameterized)
            if wanted is None:
                continue
            if type(wanted) is Trace_ELBO and wanted.has_plain_kl:
                wanted = replace(wanted, num_particles=most, vectorize_particles=True)
            if wanted not in references:
                size = getattr(wanted, "num_particles", 1)
                references[wanted] = Cell("reference", wanted, size, is_reference=True)
            cell.reference = references[wanted]
        return list(references.values())

    def measure(self, cells: Sequence[Cell], seeds: Iterable[int], bar: Any) -> None:
        """Takes a step with each estimator in turn, once for each seed."""
        for seed in seeds:
            for cell in cells:
                bar.update(cell.num_particles)
                if cell.refusal is not None:
                    continue
                try:
                    self._draw(cell, seed)
                except REFUSALS as error:
                    cell.refuse(error)
                    self.restore()
        for cell in cells:
            cell.finish()

    def settle(self, cell: Cell) -> bool:
        """Gives a reference the exact gradient, if it is known, and says whether it is."""
        bound = exact_elbo(self.program, self.batch, cell.given)
        if bound is None:
            return False
        for part, parameters in self.parts.items():
            gradients = torch.autograd.grad(bound, parameters, allow_unused=True, retain_graph=True)
            cell.moments[part] = Moments(flat(gradients, parameters))
        return True

    def _start(self, cell: Cell) -> None:
        model, guide = self.program.model, self.program.guide
        check_particles(cell.late(), model, guide, self.batch)
        estimator = cell.late()
        own = estimator.named_parameters() if isinstance(estimator, Estimator) else {}
        if own:  # of a critic, say: they stay as they are, too
            self.optimizer.add_param_group({"params": list(own.values())})
        svi = self._steps[id(cell)] = SVI(model, guide, self.optimizer, estimator)
        svi.keeps_gradients = True
        cell.moments = {part: Moments() for part in self.parts}
        no_bound = self.has_points or self.otherwise_masked or self._counts_factors(cell.late())
        cell.is_bound = is_bound(cell.late()) and not no_bound
        torch.manual_seed(0)
        svi.step(*self.batch)
        for tensor, _, _ in self._saved.values():
            tensor.grad = None  # so that the step makes its own
        with pyro.validation_enabled(False):
            cell.memory = peak_memory(lambda: svi.step(*self.batch), self.device)

    def _draw(self, cell: Cell, seed: int) -> None:
        torch.manual_seed(seed)
        with pyro.validation_enabled(False):
            began = self._now()
            loss = self._steps[id(cell)].step(*self.batch)
            cell.seconds.append(self._now() - began)
        gradients = {
            part: -flat([p.grad for p in parameters], parameters) / self.size
            for part, parameters in self.parts.items()
        }
        check_finite(gradients)
        cell.bounds.append(-float(loss) / self.size)
        for part, gradient in gradients.items():
            cell.moments[part].add(gradient)

    def _counts_factors(self, estimator: ELBO) -> bool:
        """Whether training factors, which are no part of a bound, are part of its value."""
        weights = getattr(estimator, "factors", {})
        return any(weights.get(name, 1.0) != 0 for name in self.factors)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _save(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            if id(tensor) not in self._saved:
                self._saved[id(tensor)] = (tensor, tensor.detach().clone(), tensor.grad)
