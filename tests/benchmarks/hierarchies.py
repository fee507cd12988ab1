"""The ladder and the groups of maps of the benchmark, which go down their path once by hand."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vae.inference import Trace_ELBO
from pyro_vae.models import NVAE, LadderVAE

from .case import Case

__all__ = ["ladder", "nvae"]

_SHIFT = math.log(math.e - 1)


def ladder(batch: int = 256) -> Case:
    """Five layers of an MLP with batch normalization each, as in Sonderby et al. (2016)."""
    program = LadderVAE((1, 28, 28))

    def normal(h: Tensor) -> tuple[Tensor, Tensor]:
        loc, s = h.unbind(-2)
        return loc, F.softplus(s + _SHIFT) + 1e-5

    def loss(x: Tensor) -> Tensor:
        evidence, read = [], x
        for encoder in program.encoders:
            evidence.append(normal(encoder(read)))
            read = evidence[-1][0]
        loc, variance = evidence.pop()
        z, log_q = _draw(loc, variance)
        log_p = _log_normal(z, torch.zeros_like(z), torch.ones_like(z))
        for decoder in reversed(program.decoders[1:]):
            loc_p, var_p = normal(decoder(z))
            loc, variance = evidence.pop()
            total = variance + var_p
            mean = (var_p / total) * loc + (variance / total) * loc_p
            z, log = _draw(mean, variance * var_p / total)
            log_q, log_p = log_q + log, log_p + _log_normal(z, loc_p, var_p)
        logits = program.decoders[0](z)
        return log_q - log_p + F.binary_cross_entropy_with_logits(logits, x, reduction="sum")

    x = (torch.rand(5, batch, 1, 28, 28) < 0.2).float()
    return Case(f"(i) ladder of five layers, batch {batch}", program, x, Trace_ELBO(), loss)


def nvae(batch: int = 64) -> Case:
    """Ten groups of maps on two scales, of 1x28x28."""
    sizes = {"channels": 8, "blocks": 2, "padding": 2, "expansion": 3, "kernel_size": 3}
    program = NVAE((1, 28, 28), groups=(5, 5), **sizes)

    def normal(h: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = (5 * (h / 5).tanh()).unbind(-4)
        return loc, (log_scale.exp() + 0.01).square()

    def loss(x: Tensor) -> Tensor:
        h, log_q, log_p = program.h_0, x.new_zeros(()), x.new_zeros(())
        for group, s in zip(program.groups, program.encoder(x), strict=True):
            h = group.path(h)
            if group.is_top:
                loc, variance = normal(group.residual(s))
                loc_p, var_p = torch.zeros_like(loc), torch.ones_like(loc)
            else:
                params = group.params(h)
                loc_p, var_p = normal(params)
                loc, variance = normal(params + group.residual(s + group.seen(h)))
            z, log = _draw(loc, variance)
            log_q, log_p = log_q + log, log_p + _log_normal(z, loc_p, var_p)
            h = group.taken_up(h, z)
        logits = program.decoder(h)
        return log_q - log_p + F.binary_cross_entropy_with_logits(logits, x, reduction="sum")

    x = (torch.rand(2, batch, 1, 28, 28) < 0.2).float()
    return Case(f"(j) NVAE of ten groups, 1x28x28, batch {batch}", program, x, Trace_ELBO(), loss)


def _draw(loc: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """A draw of Normals, and the sum of its log density."""
    z = loc + variance.sqrt() * torch.randn_like(loc)
    return z, _log_normal(z, loc, variance)


def _log_normal(z: Tensor, loc: Tensor, variance: Tensor) -> Tensor:
    squares = (z - loc).square() / variance
    return -0.5 * (squares + variance.log() + math.log(2 * math.pi)).sum()
