"""Spectral regularization (Yoshida and Miyato, 2017; Vahdat and Kautz, 2020, section 3.2)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from pyro_vae.inference.estimators import Weight
from pyro_vae.networks import NormalizedConv

from .penalty import Penalty

__all__ = ["Spectral"]

_FIRST = 40  # iterations when a layer is met, which begin anywhere


class Spectral(Penalty):
    """The largest singular values of a program's layers: a smooth network keeps its KLs bounded.

        weight * sum_l s_l,    s_l the largest singular value of the weights of layer l

    It counts linear and convolutional layers that are trained, the weights of the latter as
    matrices (out_channels, the rest). s_l is that of a power iteration, which goes on at each step
    from where it was; layers of the same shape are taken together.

    A deep hierarchy whose loss becomes infinite wants a larger weight. Unlike spectral
    normalization it bounds no layer, so that the likelihood pays for the slope it needs.

    Args:
        weight: A number or a schedule: 1e-2 for MNIST and up to 1e-1 for faces in the paper.
        batch_norm: Whether the largest |scale| of each batch normalization is added to the sum, as
            in the authors' code: it could undo what the layers pay for.
        iterations: Power iterations at each step.

    Raises:
        ValueError: If the iterations are fewer than one; when it meets a program without layers.

    Example:
        >>> vae, x = VAE((1, 8, 8), latent_dim=2), torch.zeros(64, 1, 8, 8)
        >>> training = fit(vae, x, epochs=1, penalty=Spectral(1e-2), progress=False)
        >>> training.records[-1]["penalty"] > 0
        True

    Reference:
        Yoshida and Miyato, 2017, https://arxiv.org/abs/1705.10941;
        Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, section 3.2
    """

    def __init__(
        self, weight: Weight = 1e-2, *, batch_norm: bool = False, iterations: int = 4
    ) -> None:
        super().__init__(weight)
        if iterations < 1:
            raise ValueError(f"iterations of Spectral must be at least 1, but is {iterations}")
        self.batch_norm, self.iterations = batch_norm, iterations

    def forward(self, program: nn.Module) -> Tensor:
        """The sum over the layers, a 0-dim tensor."""
        by_shape: dict[tuple[int, ...], list[Tensor]] = {}
        for matrix in _matrices(program):
            by_shape.setdefault(tuple(matrix.shape), []).append(matrix)
        if not by_shape:
            raise ValueError(
                "Spectral penalizes linear and convolutional layers that are trained, but the "
                "modules of the program have none; leave it out"
            )
        terms = [self._largest(torch.stack(matrices)).sum() for matrices in by_shape.values()]
        if self.batch_norm:
            terms += [scale.abs().amax() for scale in _scales(program)]
        return torch.stack(terms).sum()

    def _largest(self, matrices: Tensor) -> Tensor:
        """The largest singular value of each of these matrices (L, out, in): (L,)."""
        left = self._left(matrices)
        with torch.no_grad():
            u, v = _iterated(matrices, left, self.iterations)
            left.copy_(u)
        return torch.einsum("lo,loi,li->l", u, matrices, v)

    def _left(self, matrices: Tensor) -> Tensor:
        """The left singular vectors that earlier steps have found, (L, out): a buffer."""
        name = "left_{}x{}".format(*matrices.shape[1:])
        found = self._buffers.get(name)
        if found is None or found.shape != matrices.shape[:2]:
            # A generator of its own: whoever adds a penalty wants the draws of a training to stay.
            generator = torch.Generator().manual_seed(0)
            anywhere = torch.randn(matrices.shape[:2], generator=generator).to(matrices)
            with torch.no_grad():
                found, _ = _iterated(matrices, anywhere, _FIRST)
            self.register_buffer(name, found)
        elif found.device != matrices.device or found.dtype != matrices.dtype:
            self.register_buffer(name, found.to(matrices))
        return self.get_buffer(name)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        for name, value in state_dict.items():  # of layers that are not met yet
            if name.startswith(f"{prefix}left_"):
                self.register_buffer(name.removeprefix(prefix), value.clone())
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _iterated(matrices: Tensor, left: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Left and right singular vectors, (L, out) and (L, in), after some power iterations."""
    for _ in range(iterations):
        right = normalize(torch.einsum("loi,lo->li", matrices, left), dim=-1)
        left = normalize(torch.einsum("loi,li->lo", matrices, right), dim=-1)
    return left, right


def _matrices(program: nn.Module) -> Iterator[Tensor]:
    """The weights of the layers that are trained, as matrices (out, in)."""
    for layer in program.modules():
        if isinstance(layer, nn.Linear | _ConvNd | NormalizedConv):
            weight = layer.weight
            source = layer.direction if isinstance(layer, NormalizedConv) else weight
            if not source.requires_grad:
                continue
            mask = getattr(layer, "mask", None)
            if isinstance(mask, Tensor) and mask.shape == weight.shape:
                weight = weight * mask  # a masked linear layer has no other weights
            if isinstance(layer, _ConvTransposeNd):
                weight = weight.transpose(0, 1)
            yield weight.flatten(1)


def _scales(program: nn.Module) -> Iterator[Tensor]:
    for layer in program.modules():
        if isinstance(layer, _BatchNorm) and layer.affine and layer.weight.requires_grad:
            yield layer.weight
