"""The importance-weighted bound (Burda et al., 2016, https://arxiv.org/abs/1509.00519)."""

from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from pyro.infer import ELBO
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyro_vae.inference.terms import Function, Terms, joined, log_mean_exp, subsamples, without_runs
from pyro_vae.repetition import repetition

from .elbo import Trace_ELBO
from .estimator import Estimator
from .formula import Addend, Formula, elbo
from .notation import Notation

__all__ = ["IWAE"]


def mean_over(index: str, size: int) -> str:
    """The mean over an index in LaTeX, without what it is of."""
    return rf"\frac{{1}}{{{size}}} \, \sum_{{{index}=1}}^{{{size}}}"


@dataclass(frozen=True)
class IWAE(Estimator):
    """The importance-weighted bound: tighter than the ELBO, the more so the larger K.

        E[log (1 / K) sum_k w_k],    w_k = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    At K = 1 it is the ELBO. Its gradient is the plain reparameterized one, in which the guide's
    part drowns as K grows (signal to noise like 1 / sqrt(K)); `DReG` has the same expectation
    without that.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        chunk_size: Particles in one run, which bounds the memory: for the gradient each chunk
            runs once more, at half again the time, eagerly.

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519;
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537
    """

    num_particles: int = 5
    _: KW_ONLY
    chunk_size: int | None = None

    # Whether the gradient flows through log w alone, and not through single draws as in DReG.
    needs_weights_alone: ClassVar[bool] = True
    shares_path: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(
                f"chunk_size of {type(self).__name__} must be at least 1, but is {self.chunk_size}"
            )

    @property
    def in_chunks(self) -> bool:
        """Whether the particles run in chunks."""
        return self.chunk_size is not None and self.chunk_size < self.num_particles

    @property
    def is_bound(self) -> bool:
        """Always."""
        return True

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """Itself, whose gradient is the plain one, or the ELBO where it is that."""
        return Trace_ELBO() if self.num_particles == 1 else self

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of each datum, (N,), from its log weights (K, N)."""
        return log_mean_exp(log_w)

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        return self.bound(t.log_w)

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The bound with the mean of the weights inside the logarithm, and the ELBO as its part."""
        log_w, k = t.log_w, len(t.log_w)
        if k == 1:
            note = f"with one particle {type(self).__name__} is the ELBO"
            return elbo(t, of, gradient=self.about_gradient).noting(note)
        gain = Addend(rf"\Delta_{{{k}}}", self.bound(log_w) - log_w.mean(0))
        note = (
            rf"$\Delta_{{{k}}}$ is what the bound gains on the mean of $\log w$ of the same draws"
        )
        return Formula(
            (*elbo(t, of).addends, gain),
            symbol=rf"\mathcal{{L}}_{{{k}}}",
            definition=of.mean(self.written(k, of.weight()), tall=True),
            notes=tuple(filter(None, (note, self.about_gradient))),
        )

    def written(self, num_particles: int, weight: str) -> str:
        r"""The bound in LaTeX, from the k-th weight; \mathbb{E} is left out."""
        return rf"\log {mean_over('k', num_particles)} {weight}"

    def terms(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Terms:
        """The terms of the bound, in chunks of particles if that is asked for."""
        if not self.in_chunks:
            return super().terms(model, guide, *args, **kwargs)
        if torch.is_grad_enabled() and not self.needs_weights_alone:
            raise ValueError(
                f"{type(self).__name__} needs the draws of all particles at once for its gradient, "
                "so it cannot run in chunks; leave chunk_size out"
            )
        ready = self.prepared(model, guide, *args, **kwargs)

        def collected(size: int, subsample: Any = None) -> Terms:
            return ready.collected(size, model, guide, args, kwargs, subsample)

        def run(*size_and_subsample: Any) -> Terms:
            return checkpoint(
                collected,
                *size_and_subsample,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), repetition()),  # the gradient runs it again
            )

        size = self.chunk_size or self.num_particles
        first = run(size)
        ready.accept(first)
        parts = [without_runs(first)]
        subsample = subsamples(first.parts[0].detached)
        del first  # its draws take the memory that chunks are to save
        for chunk in torch.arange(size, self.num_particles).split(size):
            with repetition():
                parts.append(without_runs(run(len(chunk), subsample)))
        return joined(parts)
