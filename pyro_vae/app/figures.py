"""The figures of a run: samples, reconstructions, curves, interpolations, the latent space."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae import plots
from pyro_vae.datasets import Split
from pyro_vae.inference import decode, encode, reconstruct, sample
from pyro_vae.program import Program, device_of

__all__ = ["interpolation", "latent_space", "reconstructions", "samples", "save"]


def samples(program: Program, num_samples: int, x_shape: Sequence[int], *, mean: bool) -> Figure:
    """Samples from the prior, through the decoder."""
    return plots.grid(sample(program, num_samples, x_shape, mean=mean).cpu())


def reconstructions(program: Program, x: Tensor) -> Figure:
    """Data above their reconstructions."""
    return plots.pairs(x.cpu(), reconstruct(program, x.to(device_of(program))).cpu())


def interpolation(program: Program, start: Tensor, stop: Tensor, *, steps: int) -> Figure:
    """Straight lines in latent space from each datum of `start` to its partner in `stop`."""
    ends = [encode(program, x.to(device_of(program))) for x in (start, stop)]
    rows = []
    for weight in torch.linspace(0, 1, steps).tolist():
        between = {name: torch.lerp(ends[0][name], ends[1][name], weight) for name in ends[0]}
        rows.append(decode(program, between, len(start), start.shape[1:]).cpu())
    path = torch.stack([start.cpu(), *rows, stop.cpu()], dim=1)
    return plots.interpolation(path)


def latent_space(program: Program, data: Split, *, columns: int = 20) -> Figure:
    """What a 2-D latent decodes to, over a grid; of a larger one, the data's latents in a plane.

    The plane is that of the two first principal components.
    """
    x = data.x.to(device_of(program))
    latents = encode(program, x)
    name, z = next(iter(latents.items()))
    if len(latents) > 1 or z.dim() != 2 or z.shape[1] < 2:
        z = torch.cat([value.flatten(1) for value in latents.values()], dim=1)
    if len(latents) == 1 and z.shape[1:] == (2,):
        reach = min(float(z.abs().quantile(0.99)), 3.0)  # where nearly all of the prior lies
        steps = torch.linspace(-reach, reach, columns)
        points = torch.cartesian_prod(steps, steps).flip(1).to(z.device)  # z_2 row by row
        images = decode(program, {name: points}, len(points), x.shape[1:])
        return plots.manifold(images.cpu(), extent=(-reach, reach))
    if z.shape[1] > 2:
        z = z - z.mean(0)
        _, _, directions = torch.linalg.svd(z, full_matrices=False)
        z = z @ directions[:2].T
    return plots.scatter(z.cpu(), None if data.y is None else data.y.cpu())


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
