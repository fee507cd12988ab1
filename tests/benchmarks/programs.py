"""The programs of the benchmark, each as a Pyro program and written by hand in torch."""

import math
from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pyro_vae.inference import IWAE, VAEGAN, Trace_ELBO
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE, VQVAE, KLAutoencoder
from pyro_vae.networks import ConvDecoder, ConvEncoder, Discriminator
from pyro_vae.priors import DiffusionPrior

from .case import Case
from .hierarchies import ladder, nvae
from .sequences import sentences


def elbo(vae: VAE, x: Tensor) -> Tensor:
    """Minus the ELBO with the KL of the draw, as Trace_ELBO has it.

    In closed form the KL's gradient is so much quieter that Adam's first steps are others.
    """
    loc, log_scale = vae.encoder(x).unbind(-2)
    noise = torch.randn_like(loc)
    z = loc + log_scale.exp() * noise
    distortion = F.binary_cross_entropy_with_logits(vae.decoder(z), x, reduction="sum")
    return distortion + (0.5 * (z**2 - noise**2) - log_scale).sum()


def mlp(batch: int = 128) -> Case:
    """784-400-20 with softplus: the VAE of the tutorials."""
    vae = VAE((1, 28, 28), latent_dim=20)

    x = (torch.rand(20, batch, 1, 28, 28) < 0.2).float()
    return Case(f"(a) MLP 784-400-20, batch {batch}", vae, x, Trace_ELBO(), partial(elbo, vae))


def iwae(num_particles: int) -> Case:
    """The network of Burda et al. (2016), batch 100."""
    vae = VAE((1, 28, 28), latent_dim=50, hidden=(200, 200), activation=nn.Tanh)

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = vae.encoder(x).unbind(-2)
        noise = torch.randn(num_particles, *loc.shape)
        z = loc + log_scale.exp() * noise
        log_px = -F.binary_cross_entropy_with_logits(
            vae.decoder(z), x.expand(num_particles, *x.shape), reduction="none"
        ).sum((-1, -2, -3))
        log_w = log_px + (0.5 * (noise**2 - z**2) + log_scale).sum(-1)
        return -(log_w.logsumexp(0) - math.log(num_particles)).sum()

    x = (torch.rand(max(5, 20 // num_particles), 100, 1, 28, 28) < 0.2).float()
    title = f"(b) IWAE network, batch 100, K = {num_particles}"
    return Case(title, vae, x, IWAE(num_particles), loss)


class Groups(nn.Module):
    """A chain of latent groups, z_L -> ... -> z_1 -> x, with a bottom-up guide."""

    def __init__(self, num_groups: int, size: int = 20, x_size: int = 100) -> None:
        super().__init__()
        steps = range(num_groups - 1)
        self.size, self.num_groups = size, num_groups
        self.prior_nets = nn.ModuleList(nn.Linear(size, 2 * size) for _ in steps)
        self.guide_nets = nn.ModuleList(
            [nn.Linear(x_size, 2 * size), *(nn.Linear(size, 2 * size) for _ in steps)]
        )
        self.decoder = nn.Linear(size, x_size)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.05)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            last = self.num_groups - 1
            z = pyro.sample(f"z_{last}", dist.Normal(x.new_zeros(self.size), 1.0).to_event(1))
            for i in reversed(range(last)):
                loc, log_scale = self.prior_nets[i](z).chunk(2, -1)
                z = pyro.sample(f"z_{i}", dist.Normal(loc, log_scale.exp()).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            h = x
            for i in range(self.num_groups):
                loc, log_scale = self.guide_nets[i](h).chunk(2, -1)
                h = pyro.sample(f"z_{i}", dist.Normal(loc, log_scale.exp()).to_event(1))


def groups(num_groups: int = 15, batch: int = 64) -> Case:
    """Latent groups of 20, where the interpreter's work at each site is what costs."""
    program = Groups(num_groups)

    def normal(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
        error = (z - loc) / log_scale.exp()
        return -(0.5 * error**2 + log_scale + 0.5 * math.log(2 * math.pi)).sum()

    def loss(x: Tensor) -> Tensor:
        h, zs, log_q = x, [], x.new_zeros(())
        for net in program.guide_nets:
            loc, log_scale = net(h).chunk(2, -1)
            h = loc + log_scale.exp() * torch.randn_like(loc)
            zs.append(h)
            log_q = log_q + normal(h, loc, log_scale)
        zero = torch.zeros_like(zs[-1])
        log_p = normal(zs[-1], zero, zero)
        for i in range(program.num_groups - 1):
            log_p = log_p + normal(zs[i], *program.prior_nets[i](zs[i + 1]).chunk(2, -1))
        logits = program.decoder(zs[0])
        log_px = -F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return log_q - log_p - log_px

    x = (torch.rand(20, batch, 100) < 0.3).float()
    title = f"(c) {num_groups} latent groups, batch {batch}"
    return Case(title, program, x, Trace_ELBO(), loss)


def convolutional() -> Case:
    """3 -> 32 -> 64 -> 128 -> 256 channels with stride 2 and BatchNorm, 3x64x64, batch 64."""
    channels = (3, 32, 64, 128, 256)
    encoder: list[nn.Module] = []
    for i, o in zip(channels, channels[1:], strict=False):
        encoder += [nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU()]
    encoder += [nn.Flatten(), nn.Linear(256 * 16, 256), nn.Unflatten(1, (2, 128))]
    decoder: list[nn.Module] = [nn.Linear(128, 256 * 16), nn.Unflatten(1, (256, 4, 4))]
    for i, o in zip(channels[:1:-1], channels[-2:0:-1], strict=True):
        decoder += [nn.ConvTranspose2d(i, o, 3, 2, 1, 1), nn.BatchNorm2d(o), nn.ReLU()]
    decoder += [nn.ConvTranspose2d(32, 3, 3, 2, 1, 1)]
    shape = (3, 64, 64)
    vae = VAE(shape, 128, encoder=nn.Sequential(*encoder), decoder=nn.Sequential(*decoder))

    x = (torch.rand(3, 64, *shape) < 0.5).float()
    return Case(
        "(d) convolutional VAE, 3x64x64, batch 64", vae, x, Trace_ELBO(), partial(elbo, vae)
    )


def codes() -> Case:
    """A VQ-VAE on 28x28, two halvings, 512 codes by moving averages on a grid of 7x7, batch 64."""
    program = VQVAE((1, 28, 28), channels=(32, 64))
    quantizer, positions = program.posterior, 7 * 7

    def nearest(rows: Tensor, codes: Tensor) -> Tensor:
        return (codes.square().sum(1) - 2 * rows @ codes.T).argmin(1)

    @torch.no_grad()
    def move(rows: Tensor, chosen: Tensor) -> None:
        q, decay = quantizer, quantizer.decay
        one_hot = F.one_hot(chosen, q.num_codes).to(rows.dtype)
        q.count.mul_(decay).add_(one_hot.sum(0), alpha=1 - decay)
        q.total.mul_(decay).add_(one_hot.T @ rows, alpha=1 - decay)
        idle = q.count < q.restart_below
        fresh = rows[torch.randint(len(rows), (q.num_codes,))]
        q.count.copy_(torch.where(idle, q.restart_below, q.count))
        q.total.copy_(torch.where(idle[:, None], q.restart_below * fresh, q.total))
        n = q.count.sum()
        smoothed = (q.count + 1e-5) / (n + q.num_codes * 1e-5) * n
        q.codebook.copy_(q.total / smoothed[:, None])

    def loss(x: Tensor) -> Tensor:
        h = program.encoder(x)
        rows = h.movedim(1, -1).reshape(-1, quantizer.code_dim)
        chosen = nearest(rows.detach(), quantizer.codebook)
        e = F.embedding(chosen, quantizer.codebook).view(*h.shape[:1], 7, 7, -1).movedim(-1, 1)
        z = h + (e - h).detach()
        distortion = F.binary_cross_entropy_with_logits(program.decoder(z), x, reduction="sum")
        commitment = (h - e.detach()).square().sum() / positions
        move(rows.detach(), chosen)
        rate = len(x) * positions * math.log(quantizer.num_codes)
        return distortion + rate + commitment

    x = (torch.rand(10, 64, 1, 28, 28) < 0.2).float()
    return Case("(e) VQ-VAE, 512 codes on 7x7, batch 64", program, x, Trace_ELBO(), loss)


def diffusion(batch: int = 128) -> Case:
    """784-400-20 with a diffusion of 100 steps as its prior, one of which each step sees."""
    vae = VAE((1, 28, 28), latent_dim=20, prior=DiffusionPrior(20))
    chain = vae.prior.chain

    def log_prior(z: Tensor) -> Tensor:
        (batch, d), r = z.shape, chain.log_ratio
        weight = chain.beta * chain.signal_before / (2 * chain.noise)
        share = weight / chain.signal.sqrt()
        share = 0.9 * share / share.sum() + 0.1 / len(share)
        u = (torch.rand(()) + torch.arange(batch) / batch) % 1
        t = torch.searchsorted(share.cumsum(0), u).clamp(max=len(share) - 1)
        signal, noise = (a[t].sqrt().unsqueeze(1) for a in (chain.signal, chain.noise))
        e = torch.randn_like(z)
        v = chain.network(signal * z + noise * e, chain.log_snr[t].unsqueeze(1))
        network = (v * (v - 2 * (signal * e - noise * z))).sum(1)
        squares = z.square().sum(1, keepdim=True)
        rest = d / 2 * (chain.noise_before / chain.noise * torch.expm1(-r) + r).sum() + (
            weight * torch.expm1(-r) * (chain.signal * d + chain.noise * squares)
        ).sum(1)
        normal = -0.5 * (squares.squeeze(1) + d * math.log(2 * math.pi))
        return normal - rest - (weight * torch.exp(-r) / share)[t] * network

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = vae.encoder(x).unbind(-2)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        distortion = F.binary_cross_entropy_with_logits(vae.decoder(z), x, reduction="sum")
        log_q = -(0.5 * noise**2 + log_scale + 0.5 * math.log(2 * math.pi)).sum()
        return distortion + log_q - log_prior(z).sum()

    x = (torch.rand(20, batch, 1, 28, 28) < 0.2).float()
    return Case(f"(f) MLP with a diffusion of z, batch {batch}", vae, x, Trace_ELBO(), loss)


def kl_autoencoder() -> Case:
    """Stable Diffusion's layers with channels of 16, 32 and 32, latents (4, 8, 8), batch 16."""
    program = KLAutoencoder((3, 32, 32), channels=(16, 32, 32))

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = program.encoder(x).unbind(-4)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        distortion = 2 * (x - program.decoder(z)).abs().sum()  # a Laplace's, of scale 1/2
        return distortion + (0.5 * (z**2 - noise**2) - log_scale).sum()

    x = torch.rand(5, 16, 3, 32, 32)
    return Case("(g) KL autoencoder, 3x32x32, batch 16", program, x, Trace_ELBO(), loss)


def vaegan() -> Case:
    """Convolutions of 32 and 64 channels, three for the discriminator, 1x28x28, batch 64."""
    shape, gamma, scale = (1, 28, 28), 0.01, 0.1
    networks = {"encoder": ConvEncoder, "decoder": ConvDecoder}
    vae = VAE(shape, 32, likelihood=Normal(shape, scale=0.1), **networks)
    judge = Discriminator(shape, spectral_norm=False)
    estimator = VAEGAN(discriminator=judge, gamma=gamma, feature_scale=scale)
    *low, last = judge.layers.children()
    features = nn.Sequential(*low[:2])
    logit = nn.Sequential(*low[2:], last)

    def held(network: nn.Module, given: Tensor) -> Tensor:
        """The network's output, from which its parameters learn nothing."""
        return functional_call(
            network, {n: p.detach() for n, p in network.named_parameters()}, given
        )

    def log_features(of_x: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        seen = held(features, images)
        squares = ((seen - of_x) / scale).square().sum()
        return -0.5 * (squares + seen.numel() * math.log(2 * math.pi * scale**2)), seen

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = vae.encoder(x).unbind(-2)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        kl = (0.5 * (loc**2 + (2 * log_scale).exp() - 1) - log_scale).sum()
        made, drawn = vae.decoder(z.detach()), vae.decoder(torch.randn_like(z))
        of_x = features(x)
        own = [logit(features(images.detach())) for images in (made, drawn)]
        judged = F.softplus(-logit(of_x)).sum() + sum(F.softplus(fake).sum() for fake in own)
        of_x = of_x.detach()
        for_encoder, _ = log_features(of_x, held(vae.decoder, z))
        for_decoder, seen = log_features(of_x, made)
        others = (held(logit, seen), held(judge, drawn))
        adversary = -sum(F.softplus(fake).sum() for fake in others)
        learned = kl - for_encoder - gamma * for_decoder + adversary + judged
        return (kl - for_encoder).detach() + learned - learned.detach()

    x = torch.rand(10, 64, *shape)
    return Case("(h) VAE-GAN, 1x28x28, batch 64", vae, x, estimator, loss)


CASES: dict[str, Callable[[], Case]] = {
    "a": mlp,
    "b1": partial(iwae, 1),
    "b5": partial(iwae, 5),
    "b50": partial(iwae, 50),
    "c": groups,
    "d": convolutional,
    "e": codes,
    "f": diffusion,
    "g": kl_autoencoder,
    "h": vaegan,
    "i": ladder,
    "j": nvae,
    "k": sentences,
}


def seeded(make: Callable[[], Case]) -> Case:
    """A case with the same data and initial parameters each time."""
    torch.manual_seed(0)
    return make()
