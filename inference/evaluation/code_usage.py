"""How many of its codes a program with a codebook uses."""

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.inference.terms import sample_sites
from pyro_vae.program import Program, device_of, evaluating

__all__ = ["CodeUsage", "code_usage"]


@dataclass(frozen=True)
class CodeUsage:
    """How often each code of a latent is chosen.

    Args:
        counts: Of the choices of each code, (K,).
    """

    counts: Tensor

    @property
    def used(self) -> int:
        """The codes that are chosen at all."""
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the codes' shares: the equally frequent codes that are worth as much."""
        share = self.counts / self.counts.sum()
        return float(torch.special.entr(share).sum().exp())

    def __str__(self) -> str:
        return f"{self.used} of {len(self.counts)} codes used, perplexity {self.perplexity:.1f}"


def code_usage(program: Program, x: Tensor, *, batch_size: int = 500) -> dict[str, CodeUsage]:
    """The usage of codes over data, for each latent that takes codes, by name.

    Args:
        program: A program such as `VQVAE`; others have no such latent.
        x: Data, (N, *x_shape).
        batch_size: Data in one run.

    Reference:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937; perplexity as it is reported
        since: Dhariwal et al., 2020, https://arxiv.org/abs/2005.00341
    """
    counts: dict[str, Tensor] = {}
    with evaluating(program):
        for batch in x.split(batch_size):
            trace = poutine.trace(program.guide).get_trace(batch.to(device_of(program)))
            for site in sample_sites(trace):
                book: Any = getattr(site["fn"], "book", None)
                if book is not None:
                    chosen = book.indices(site["value"]).flatten()
                    number = torch.bincount(chosen, minlength=book.num_codes).cpu()
                    counts[site["name"]] = counts.get(site["name"], 0) + number
    return {name: CodeUsage(number) for name, number in counts.items()}
