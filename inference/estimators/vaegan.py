"""The VAE-GAN (Larsen et al., 2016, https://arxiv.org/abs/1512.09300)."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.inference.terms import Terms, weighted

from .adversary import Costs, WithAdversary, look, power_iterations_off
from .elbo_formula import formula_of_elbo
from .estimator import Estimator, with_gradient
from .factor_weights import Weight, check_not_negative, number
from .formula import Addend, Formula, observed
from .notation import Notation, symbol

__all__ = ["VAEGAN"]


@dataclass(frozen=True)
class VAEGAN(WithAdversary):
    """Algorithm 1 of the paper: a VAE whose images are compared in a discriminator's features.

        encoder        descends  KL + L_feat
        decoder        descends  gamma L_feat - L_GAN
        discriminator  descends  L_GAN

        L_feat = -log N(D_l(x); D_l(x~), s^2 I),    x~ the mean of p(x | z), z ~ q(z | x)
        L_GAN  = -log D(x) - log(1 - D(x~)) - log(1 - D(x_p)),    x_p likewise for z ~ p(z)

    with D_l the features of a layer of the discriminator, which learns nothing from L_feat, as the
    encoder learns nothing from L_GAN. (The paper prints L_GAN with the other sign.) All three take
    their step at once, from the gradient of one loss. With one set of weights for both, as where
    the prior is made of the encoder, these learn as the encoder does; a learned prior and the
    model's other distributions of latents learn from the KL.

    The value is -(KL + L_feat), which is no bound on log p(x): it is of features, in units that
    change as the discriminator learns. So no two epochs are compared by it, and `fit` keeps the
    last. The program's own density, with its likelihood of pixels, is what `evaluate` reports a
    bound of, and trainings beside the value. That likelihood teaches no image: of its parameters
    only those learn from it that x~ does not depend on, such as the learned scale of `Normal`
    (where the decoder makes scales, as for `HeteroscedasticNormal`, it learns that from it, too).

    A run folder saves and resumes the discriminator, and its parameters, which are called
    "estimator.discriminator.", may have a learning rate of their own:
    `pyro.optim.Adam(lambda name: {"lr": 1e-4 if name.startswith("estimator.") else 1e-3})`.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        discriminator: A module that maps images (R, *x_shape) to logits, (R,) or a map for each.
        gamma: The weight of L_feat for the decoder, a number above 0 or a schedule. L_feat is a sum
            over features and L_GAN of one number an image, so the more features, the smaller.
        feature_scale: s. It sets what L_feat weighs against the KL, as the scale of a likelihood
            does. The paper's is 1, for features that batch normalization keeps near 1; those of
            spectral normalization are smaller, and at 1 the KL outweighs them and the encoder comes
            to say nothing of x, with a rate near 0.
        layer: The name of the discriminator's module whose output is D_l, such as "layers.block_2";
            by default its attribute `feature_layer`.
        gan_loss: `Minimax()` as above; with `NonSaturating()` or `Hinge()` the three have its
            costs instead.
        reconstructions: Whether the discriminator is shown x~; else x_p alone.
        prior_draws: Whether it is shown x_p.
        balance: The margin m of the authors' rule; None has no rule. A side whose opponent is too
            far behind does not learn from a batch: the discriminator if its mean cost of data or
            of fakes, the mean of their kinds, is below e - m, the decoder if one of the two is
            above e + m, where e is what a coin would pay; if both should not, both do. The
            gradient is then 0, which is a standstill for SGD and RMSprop, and not for the momentum
            of Adam.
        r1: Weight of r1 / 2 E|dD(x)/dx|^2, which smooths the discriminator (Mescheder et al.,
            2018, https://arxiv.org/abs/1801.04406): a number or a schedule.
        site: The name of the site that has the images.
        beta: The weight of the KL, as in `Trace_ELBO`, as are free_bits, capacity and kl_balance.

    Raises:
        TypeError: If the discriminator is no module.
        ValueError: If gamma or feature_scale is not positive, or the discriminator has no such
            layer or cannot take the images of the program.

    Example:
        >>> from pyro_vae.networks import Discriminator
        >>> vae, estimator = VAE((1, 8, 8)), VAEGAN(discriminator=Discriminator((1, 8, 8)))
        >>> math.isfinite(estimator.loss(vae.model, vae.guide, torch.zeros(5, 1, 8, 8)))
        True

    Reference:
        Larsen et al., 2016, https://arxiv.org/abs/1512.09300, algorithm 1;
        balance: https://github.com/andersbll/autoencoding_beyond_pixels
    """

    _: KW_ONLY
    gamma: Weight = 0.01
    feature_scale: float = 0.1
    layer: str | None = None
    balance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.gamma, int | float) and not 0 < self.gamma < math.inf:
            raise ValueError(
                f"gamma of {type(self).__name__} must be positive and finite, but is {self.gamma}; "
                "the decoder learns to reconstruct by it alone"
            )
        scale: Any = self.feature_scale
        if not (isinstance(scale, int | float) and 0 < scale < math.inf):
            raise ValueError(
                f"feature_scale of {type(self).__name__} must be a number, positive and finite, "
                f"but is {scale}"
            )
        if self.balance is not None:
            check_not_negative(f"balance of {type(self).__name__}", self.balance)
        self._check_layer()

    @property
    def is_linear(self) -> bool:
        """Whether the KL is plain: what takes the place of log p(x | z) does not contain it."""
        return self.has_plain_kl

    @property
    def is_bound(self) -> bool:
        """Never: a density of features that are learned is none of x."""
        return False

    def check(self, t: Terms) -> None:
        """Refuses what is no sum over data, too: the latents of each are gated by themselves."""
        Estimator.check(self, t)
        super().check(t)

    def objective(self, t: Terms) -> Tensor:
        """-(KL + L_feat) of each datum, (N,), with the gradient of the three."""
        rate = self.paid_for_kl(t)  # (K, N)
        x, x_mean = self.data(t), self.reconstructed(t)
        if not torch.is_grad_enabled():
            return (self._log_features(*self._seen(x, x_mean)).view_as(rate) - rate).mean(0)
        costs = self.costs(x, self.made(t), len(rate), self._layer)
        of_x, of_made = costs.seen
        if self.reconstructions:
            log_features = self._log_features(of_x, of_made[: len(x_mean)]).view_as(rate)
        else:
            log_features = self._log_features(*self._seen(x, x_mean)).view_as(rate)
        value = (log_features - rate).mean(0)
        discriminator, decoder = self._who_learns(costs)
        # Nothing flows from the model into the guide's draws but what the encoder is to learn.
        for_encoder = t.missing_behind_gate(value.sum(), torch.zeros_like(rate))
        t.gate(torch.zeros_like(rate))
        for_decoder = weighted(number(self.gamma), log_features.mean(0)) - costs.generator
        learned = decoder * for_decoder - rate.mean(0) - discriminator * costs.discriminator
        alone = for_encoder + self._for_scale(t, x_mean)
        return with_gradient(value, learned + alone / len(value))

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The KL, and a density of features in the place of the data's."""
        kls = formula_of_elbo(self, t, of).addends[len(observed(t, of)) :]
        features = self._seen(self.data(t), self.reconstructed(t))
        value = self._log_features(*features).view_as(t.log_px).mean(0)
        name, width = symbol(self.site), f"{self.feature_scale:g}^{{2}}"
        mean = rf"D_{{l}}(\tilde{{{name}}})"
        latex = of.mean(rf"\log \mathcal{{N}}(D_{{l}}({name}); {mean}, {width} I)")
        notes = (
            f"$D_{{l}}$ are the features of layer {self._layer} of the discriminator, "
            rf"and $\tilde{{{name}}}$ is the mean of the likelihood",
            "the decoder also climbs, and the discriminator descends, what it costs to tell them",
        )
        return Formula((Addend(latex, value), *kls), notes=notes)

    def _for_scale(self, t: Terms, x_mean: Tensor) -> Tensor | float:
        """What log p(x | z) teaches those parameters of it that x~ does not depend on."""
        tensors = self.parameters_of_images(t)
        if not tensors or not x_mean.requires_grad:
            return 0.0
        of_mean, of_density = (
            torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
            for value in (x_mean.sum(), t.log_px.mean(0).sum())
        )
        pairs = zip(tensors, of_mean, of_density, strict=True)
        return sum((g * tensor).sum() for tensor, m, g in pairs if m is None and g is not None)

    def weighed_factors(self, t: Terms) -> Tensor | float:
        """What the training factors add, with their plain gradient, which is not gated."""
        total = super().weighed_factors(t)
        if not isinstance(total, Tensor) or not torch.is_grad_enabled():
            return total
        return t.past_gate(total, torch.zeros_like(t.log_px))

    def _seen(self, x: Tensor, x_mean: Tensor) -> tuple[Tensor, Tensor]:
        """The features of data and reconstructions, with a gradient for the latter alone."""
        with power_iterations_off(self.discriminator):
            with torch.no_grad():
                _, of_x = look(self.discriminator, x, self._layer)
            _, of_mean = look(self.discriminator, x_mean, self._layer, detached=True)
        return of_x, of_mean

    def _log_features(self, of_x: Tensor, of_mean: Tensor) -> Tensor:
        """-L_feat, (K N,), of features (N, ...) and (K N, ...)."""
        of_x, of_mean = of_x.flatten(1), of_mean.flatten(1)
        error = (of_mean - of_x.repeat(len(of_mean) // len(of_x), 1)) / self.feature_scale
        constant = error.shape[1] * math.log(2 * math.pi * self.feature_scale**2)
        return -(error.square().sum(1) + constant) / 2

    def _who_learns(self, costs: Costs) -> tuple[Tensor | float, Tensor | float]:
        """Whether discriminator and decoder learn from a batch, 1 or 0."""
        if self.balance is None:
            return 1.0, 1.0
        means = torch.stack([costs.real.mean(), costs.fake.mean()]).detach()
        leads = (means < self.gan_loss.equilibrium - self.balance).any()
        lags = (means > self.gan_loss.equilibrium + self.balance).any()
        both = leads & lags
        return (~leads | both).to(means), (~lags | both).to(means)

    @property
    def _layer(self) -> str:
        return str(self.layer or getattr(self.discriminator, "feature_layer", ""))

    def _check_layer(self) -> None:
        names = [name for name, _ in self.discriminator.named_modules() if name]
        names = [name for name in names if "parametrizations" not in name]
        if self._layer not in names:
            given = f"has no layer {self._layer!r}" if self._layer else "names no feature_layer"
            raise ValueError(
                f"{type(self).__name__} compares the features of a layer, but its discriminator, a "
                f"{type(self.discriminator).__name__}, {given}; its layers are "
                f"{', '.join(names) or 'none'}; name one with layer="
            )
