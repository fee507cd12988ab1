"""The figures of a run: samples, reconstructions, curves, interpolations, the latent space."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae import plots
from pyro_vae.datasets import Split
from pyro_vae.inference import decode, encode, reconstruct, sample
from pyro_vae.inference.predictive import discrete_latents
from pyro_vae.program import Program, device_of

__all__ = ["interpolation", "latent_space", "reconstructions", "samples", "save"]


def samples(program: Program, num_samples: int, x_shape: Sequence[int], *, mean: bool) -> Figure:
    """Samples from the prior, through the decoder."""
    return plots.grid(sample(program, num_samples, x_shape, mean=mean).cpu())


def reconstructions(program: Program, x: Tensor) -> Figure:
    """Data above their reconstructions."""
    return plots.pairs(x.cpu(), reconstruct(program, x.to(device_of(program))).cpu())


def interpolation(program: Program, start: Tensor, stop: Tensor, *, steps: int) -> Figure:
    """Straight lines in latent space from each datum of `start` to its partner in `stop`.

    Raises:
        ValueError: If there are no latents to go through, or some between which nothing lies.
    """
    start_on_device, stop_on_device = (x.to(device_of(program)) for x in (start, stop))
    discrete = discrete_latents(program, start_on_device)
    if discrete:
        raise ValueError(f"latents {discrete} are discrete, so nothing lies between two of them")
    ends = [encode(program, x) for x in (start_on_device, stop_on_device)]
    if not ends[0]:
        raise ValueError("the guide draws no latents, so there is nothing to interpolate")
    rows = []
    for weight in torch.linspace(0, 1, steps).tolist():
        between = {name: torch.lerp(ends[0][name], ends[1][name], weight) for name in ends[0]}
        rows.append(decode(program, between, len(start), start.shape[1:]).cpu())
    path = torch.stack([start.cpu(), *rows, stop.cpu()], dim=1)
    return plots.interpolation(path)


def latent_space(program: Program, data: Split, *, columns: int = 20) -> Figure:
    """What a 2-D latent decodes to, over a grid; of others, where the data's latents lie.

    One number is drawn as a histogram, two as a plane, and more as the plane of their first two
    principal components. Latents that all data share are left out.

    Raises:
        ValueError: If the guide draws no latent for each datum.
    """
    x = data.x.to(device_of(program))
    latents = {n: z for n, z in encode(program, x).items() if z.dim() and len(z) == len(x)}
    if not latents:
        raise ValueError(
            "the guide draws no latent with a row for each datum, so there is no latent space to "
            'show; draw one in pyro.plate("data", len(x))'
        )
    (name, z), *others = latents.items()
    if not others and z.shape[1:] == (2,) and not discrete_latents(program, x):
        return _manifold(program, name, z, x.shape[1:], columns)
    return _spread(latents, data.y)


def _manifold(
    program: Program, name: str, z: Tensor, x_shape: Sequence[int], columns: int
) -> Figure:
    reach = min(float(z.abs().quantile(0.99)), 3.0)  # where nearly all of the prior lies
    steps = torch.linspace(-reach, reach, columns)
    points = torch.cartesian_prod(steps, steps).flip(1).to(z)  # z_2 row by row
    images = decode(program, {name: points}, len(points), x_shape)
    return plots.manifold(images.cpu(), extent=(-reach, reach))


def _spread(latents: Mapping[str, Tensor], y: Tensor | None) -> Figure:
    """The latents of data as points on a line or in a plane."""
    rows = {name: z.reshape(len(z), -1).float().cpu() for name, z in latents.items()}
    z, y = torch.cat(list(rows.values()), dim=1), None if y is None else y.cpu()
    if z.shape[1] == 1:
        return plots.histogram(z[:, 0], y, label=next(iter(rows)))
    if z.shape[1] == 2:
        return plots.scatter(z, y, labels=_two(list(rows)))
    z = z - z.mean(0)
    _, _, directions = torch.linalg.svd(z, full_matrices=False)
    labels = ("first principal component", "second principal component")
    return plots.scatter(z @ directions[:2].T, y, labels=labels)


def _two(names: Sequence[str]) -> tuple[str, str]:
    return (names[0], names[1]) if len(names) == 2 else ("$z_1$", "$z_2$")


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
