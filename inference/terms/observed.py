"""What a model observes: which of its sites count in log p(x, z), and how much each counts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vae.factors import is_training_factor

from .plates import is_deterministic
from .runs import sample_sites
from .terms import Terms

__all__ = ["is_of_the_density", "log_px_of_each"]


def is_of_the_density(site: Mapping[str, Any]) -> bool:
    """Whether a site of the model is observed and counts in log p(x, z)."""
    return site["is_observed"] and not (is_deterministic(site) or is_training_factor(site))


def log_px_of_each(t: Terms) -> dict[str, Tensor]:
    """The log density of each site that is observed for each datum, (K, N); the sum is `log_px`."""
    parts = [_of_run(part) for part in t.parts]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _of_run(t: Terms) -> dict[str, Tensor]:
    sites = [site for site in sample_sites(t.traces[0]) if is_of_the_density(site)]
    num_particles = t.layout.num_particles
    return {
        site["name"]: t.layout.sum(site, site["log_prob"]).expand(num_particles, -1)
        for site in sites
        if t.layout.is_local(site)
    }
