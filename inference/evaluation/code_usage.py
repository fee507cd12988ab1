"""How many of its codes a program with a codebook uses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.batches import Batches, Data
from pyro_vae.inference.terms import sample_sites, trace_guide
from pyro_vae.program import Program, evaluating

__all__ = ["CodeUsage", "code_usage", "usage_in"]


@dataclass(frozen=True)
class CodeUsage:
    """How often each code of a latent is chosen.

    Args:
        counts: How often each code was chosen, (K,).
    """

    counts: Tensor

    @property
    def used(self) -> int:
        """The number of codes that are chosen at least once."""
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """exp(H) of the entropy H of the codes' shares: K if all K codes are equally frequent."""
        share = self.counts / self.counts.sum()
        return float(torch.special.entr(share).sum().exp())

    def __str__(self) -> str:
        return f"{self.used} of {len(self.counts)} codes used, perplexity {self.perplexity:.1f}"


def code_usage(
    program: Program, x: Data, y: Tensor | None = None, *, batch_size: int = 500
) -> dict[str, CodeUsage]:
    """The usage of codes over data, for each latent that takes codes, by name.

    Args:
        program: A program such as `VQVAE`; others have no such latent.
        x: Data, (N, *x_shape), or a `Split` or `DataSource`.
        y: The labels of a tensor x, for a program `model(x, y)`.
        batch_size: Data in one run.

    Reference:
        Perplexity, as it is reported since: Dhariwal et al., 2020,
        https://arxiv.org/abs/2005.00341
    """
    with evaluating(program):
        return usage_in(program, Batches.of(program, x, y, batch_size=batch_size).once())


def usage_in(program: Program, batches: Iterable[Sequence[Any]]) -> dict[str, CodeUsage]:
    """The usage of codes over batches of the program's arguments, as the program is."""
    counts: dict[str, Tensor] = {}
    for batch in batches:
        trace = trace_guide(program.guide, batch, {})
        books = {site["name"]: getattr(site["fn"], "book", None) for site in sample_sites(trace)}
        if not any(books.values()):
            break  # nor will it have codes for other data
        for name, book in books.items():
            if book is not None:
                chosen = book.indices(trace.nodes[name]["value"]).flatten()
                number = torch.bincount(chosen, minlength=book.num_codes).cpu()
                counts[name] = counts.get(name, 0) + number
    return {name: CodeUsage(number) for name, number in counts.items()}
