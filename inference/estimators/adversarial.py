"""An ELBO and an adversary: what trains the autoencoders of latent diffusion."""

from dataclasses import KW_ONLY, dataclass, replace

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn

from pyro_vae.frozen import freeze, is_frozen
from pyro_vae.inference.terms import Terms, weighted

from .adversary import WithAdversary
from .elbo_formula import formula_of_elbo
from .estimator import with_gradient
from .factor_weights import Weight, check_not_negative, number
from .formula import Addend, Formula
from .gan_losses import GANLoss, Hinge
from .notation import Notation, coefficient, symbol

__all__ = ["Adversarial"]


@dataclass(frozen=True)
class Adversarial(WithAdversary):
    """An ELBO whose images are also to pass for data, and to look like theirs to a network.

        E_q[log p(x|z)] - beta KL - perceptual_weight |x| d(x, x~) - w L_gen(D(x~))

    where x~ is the mean of p(x | z), L_gen what `gan_loss` has the program pay for the logit of a
    discriminator D, and d how different a network finds two images, which counts once for each of
    the |x| numbers of x, as in the code of latent diffusion. Encoder and decoder climb the whole;
    D learns from x and x~ in the same step, from its own cost, and the program's density does not
    contain it.

    The value is that of the ELBO less the perceptual term, without the adversary's, whose scale
    changes as the discriminator learns. So at beta 1 and without a perceptual network it is a bound
    on log p(x), and `is_bound` says so. It is not what the gradient climbs: `fit` therefore keeps
    the last epoch, and not the one of the best bound. Unlike in `VAEGAN`, pixels are compared as
    the likelihood does, and the encoder learns from the discriminator, too.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        discriminator: A module that maps images (R, *x_shape) to logits, (R,) or a map for each.
        weight: Of the adversary's term: a number or a schedule. At 0 the discriminator does not
            learn either, so `delayed(0.5, 10_000)` begins with both at step 10,000.
        adaptive: Whether `weight` is a share: w is then weight times |dA/dh| / (|dL_gen/dh| + 1e-4)
            at most 10,000 times it, with A what is paid for likelihood and d, and h the
            parameters of p(x | z) that x~ depends on, over the whole batch: of Normal and Laplace
            x~ itself, of Bernoulli the logits. The code of latent diffusion takes instead the
            weights of the decoder's last layer, of which an estimator does not know.
        perceptual: A network of two images, such as `PerceptualDistance`, that tells how different
            they look, (R,); it is frozen. Not for programs that state such a term themselves.
        perceptual_weight: Of its term: a number or a schedule.
        gan_loss: `Hinge()`, `NonSaturating()` or `Minimax()`.
        reconstructions: Whether the discriminator is shown x~.
        prior_draws: Whether it is shown the means of p(x | z) for z ~ p(z), too.
        r1: As in `VAEGAN`.
        site: The name of the site that has the images.
        beta: The weight of the KL, as in `Trace_ELBO`, as are free_bits, capacity and kl_balance.

    Raises:
        TypeError: If discriminator or network is no module.
        ValueError: If one of both cannot take the program's images.

    Example:
        >>> from pyro_vae.likelihoods import Laplace
        >>> from pyro_vae.networks import PatchDiscriminator
        >>> vae = VAE((1, 28, 28), likelihood=Laplace((1, 28, 28), scale=1.0))
        >>> adversary = PatchDiscriminator((1, 28, 28), channels=16)
        >>> estimator = Adversarial(discriminator=adversary, beta=1e-6, adaptive=True)
        >>> estimator.loss(vae.model, vae.guide, torch.zeros(5, 1, 28, 28)) > 0
        True

    Reference:
        Esser et al., 2021, https://arxiv.org/abs/2012.09841, eq. 7;
        Rombach et al., 2022, https://arxiv.org/abs/2112.10752, appendix G
    """

    _: KW_ONLY
    gan_loss: GANLoss = Hinge()
    prior_draws: bool = False
    weight: Weight = 1.0
    adaptive: bool = False
    perceptual: nn.Module | None = None
    perceptual_weight: Weight = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        check_not_negative(f"weight of {name}", self.weight)
        check_not_negative(f"perceptual_weight of {name}", self.perceptual_weight)
        if self.adaptive and not self.reconstructions:
            raise ValueError(
                f"the adaptive weight of {name} compares two gradients at the reconstructions, so "
                "the discriminator must be shown them; leave reconstructions at True"
            )
        if self.perceptual is None:
            return
        if not isinstance(self.perceptual, nn.Module):
            raise TypeError(
                f"the perceptual network of {name} is {self.perceptual!r:.80}, but must be a "
                "module of two images, such as PerceptualDistance(network)"
            )
        if not is_frozen(self.perceptual):  # not again at each step, which makes this value anew
            freeze(self.perceptual)  # or it would learn to see no difference

    @property
    def is_linear(self) -> bool:
        """Whether the KL is plain: the other terms do not contain log p."""
        return self.has_plain_kl

    @property
    def is_bound(self) -> bool:
        """Whether its value is the ELBO: beta 1, a plain KL, and no perceptual network."""
        return self.perceptual is None and super().is_bound

    def check(self, t: Terms) -> None:
        """Refuses a perceptual network that cannot take the images, too."""
        super().check(t)
        if self.perceptual is not None and is_validation_enabled():
            x = self.data(t)
            self.check_takes("perceptual network", self.perceptual, x, x)

    def objective(self, t: Terms) -> Tensor:
        """The ELBO of each datum less the perceptual term, (N,), with the gradient of all."""
        value, paid = super().objective(t), -t.log_px.mean(0)
        x = self.data(t)
        if self.perceptual is not None:
            distance = self._paid_for_distance(t)
            value, paid = value - distance, paid + distance
        if not torch.is_grad_enabled():
            return value
        costs = self.costs(x, self.made(t), len(t.log_px))
        weight = number(self.weight)
        share = weighted(weight, costs.generator)
        if self.adaptive:
            share = self._ratio(t, paid.sum(), costs.generator.sum()) * share
        learns = torch.as_tensor(weight != 0).to(value)
        return with_gradient(value, value - share - learns * costs.discriminator)

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The ELBO less the perceptual term; the adversary's is in the gradient alone."""
        found, x = formula_of_elbo(self, t, of), symbol(self.site)
        notes = (
            *found.notes,
            r"the gradient also climbs $-w \, L_{\mathrm{gen}}(D(\tilde{x}))$ of a discriminator "
            r"$D$ that learns beside it, with $\tilde{x}$ the mean of the likelihood",
        )
        if self.perceptual is None:
            return replace(found, notes=notes)
        weight = coefficient(number(self.perceptual_weight))
        distance = Addend(rf"{weight}|{x}| \, d({x}, \tilde{{x}})", self._paid_for_distance(t), -1)
        notes = (*notes, "$d$ is how different a network finds two images, for each number of them")
        return Formula((*found.addends, distance), notes=notes)

    def _paid_for_distance(self, t: Terms) -> Tensor:
        """The weighted perceptual term of each datum, (N,)."""
        distance = self._distance(self.data(t), self.reconstructed(t)).view_as(t.log_px).mean(0)
        return weighted(number(self.perceptual_weight), distance)

    def _distance(self, x: Tensor, x_mean: Tensor) -> Tensor:
        """|x| d(x, x~), (K N,)."""
        x = x.repeat(len(x_mean) // len(x), *(1 for _ in x.shape[1:]))
        return self.perceptual(x, x_mean).reshape(-1) * x[0].numel()  # type: ignore[misc]

    def _ratio(self, t: Terms, paid: Tensor, generator: Tensor) -> Tensor:
        """What makes the adversary's gradient as long as that of all else, a number."""
        tensors = self.parameters_of_images(t)
        ours, theirs = (
            torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
            for value in (paid, generator)
        )
        both = [(a, b) for a, b in zip(ours, theirs, strict=True) if None not in (a, b)]
        if not both:
            raise ValueError(
                f"the adaptive weight of {type(self).__name__} needs a tensor of which density and "
                f"mean of site {self.site!r} are made, but its distribution has none; leave out "
                "adaptive"
            )
        norms = [torch.cat([g.flatten() for g in side]).norm() for side in zip(*both, strict=True)]
        return (norms[0] / (norms[1] + 1e-4)).clamp(max=1e4).detach()
