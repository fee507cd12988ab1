"""What each number of a latent tells of data: its rate, and its mean given them."""

from typing import Any

from torch import Tensor

from pyro_vae.inference.terms import Terms, collect, kl_of_numbers, numbers_of, support_of
from pyro_vae.program import Program

from .model_run import mean_or_draw

__all__ = ["rates_and_means"]


def rates_and_means(program: Program, args: Any, site: str) -> tuple[Tensor | None, Tensor]:
    """The mean rate of each number of a latent over data, in nats, and its means.

    Args:
        program: The program, in evaluation mode.
        args: Its arguments, of N data.
        site: The latent, flattened to D numbers.

    Returns:
        The rates, (D,), None where the numbers are not independent, so that none has a rate of its
        own; and the means of q(z | x), or draws where one has no mean, (N, D).

    Raises:
        ValueError: If the program has no such latent of each datum, or it is discrete.
    """
    t = collect(program.model, program.guide, args, {})
    if site not in t.latents:
        raise ValueError(
            f"the program has no latent {site!r} of a datum; those are {t.latent_names}"
        )
    if support_of(t.latents[site].q).is_discrete:
        raise ValueError(
            f"latent {site!r} is discrete, so none of its numbers can be moved; look at samples"
        )
    of_guide = t.traces[1].nodes[site]
    means = t.layout.rows({**of_guide, "value": mean_or_draw(of_guide, mean=True)})
    return _rates(t, site), means


def _rates(t: Terms, site: str) -> Tensor | None:
    """The rate of each number, (D,); None unless they are independent."""
    latent = t.latents[site]
    kl = kl_of_numbers(latent.q, latent.p, latent.z, averaged=True)
    return None if kl is None else numbers_of(t, site, kl).mean(0)
