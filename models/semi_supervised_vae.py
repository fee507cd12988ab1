"""Semi-supervised learning with a VAE, M2 (Kingma et al., 2014, https://arxiv.org/abs/1406.5298)."""

from collections.abc import Callable, Sequence
from functools import partial

import pyro
from pyro.nn import pyro_method
from torch import Tensor, nn

from pyro_vae.factors import training_factor
from pyro_vae.networks import MLP
from pyro_vae.posteriors import OneHot
from pyro_vae.priors import UniformOneHot
from pyro_vae.shapes import LatentDim
from pyro_vae.wiring import Network, Parts

from .conditional_vae import ConditionalVAE

__all__ = ["SemiSupervisedVAE"]


class SemiSupervisedVAE(ConditionalVAE):
    """y ~ 1 / num_classes;  z ~ p(z);  x ~ p(x | decoder(z, y));  some y are known.

    The guide is y ~ q(y | classifier(x)), z ~ q(z | encoder(x, y)), where q(y | x) is a point at
    the label of a row that has one. So one batch may hold both kinds of rows, and under
    `TraceEnum_ELBO(max_plate_nesting=1)`, which sums q(y | x) out, each counts as in the paper:

        labelled: -L(x, y) = E_q(z|x,y)[log p(x, y, z) - log q(z | x, y)]     (equation 6)
        others:   -U(x) = sum_y q(y | x) (-L(x, y) - log q(y | x))            (equation 7)

    An estimator that does not enumerate draws y from q(y | x). With every y known the bound is that
    of a `ConditionalVAE`, less log num_classes.

    By these alone, labels do not teach the classifier. So the model states log q(y | x) of each row
    that has a label as the training factor "label", which no bound counts. Its weight (alpha in
    equation 9) is the estimator's: `TraceEnum_ELBO(max_plate_nesting=1, factors={"label": 50})`.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, or its shape.
        num_classes: The number of classes.
        prior: p(z), or p(z | h), as for `ConditionalVAE`.
        prior_network: A network from y to the h of such a prior, likewise.
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        classifier: A network from x to the logits of q(y | x), (num_classes,), or a class that
            builds it from the two shapes.
        encoder: A network from x and y, as for `ConditionalVAE`. Where y is summed out, it runs on
            each x once for each class; the first layer of the default, `Added`, runs once.
        decoder: A network from z and y, likewise.
        encoder_sees_y: True for q(z | x, y), as in the paper; False for q(z | x).
        decoder_sees_y: True for p(x | z, y), as in the paper; False for p(x | z), where the prior
            must be one of y. With both False, z is a mixture of one component for each class, and
            the networks run once on each x.
        hidden: Units of each hidden layer of the default encoder and classifier; of the default
            decoder, in reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: As for `ConditionalVAE`.

    Reference:
        Kingma et al., 2014, https://arxiv.org/abs/1406.5298

    Example:
        >>> program = SemiSupervisedVAE((1, 8, 8), latent_dim=2)
        >>> x, y = torch.zeros(5, 1, 8, 8), torch.tensor([3, -1, -1, 7, -1])
        >>> loss = TraceEnum_ELBO(max_plate_nesting=1, factors={"label": 50})
        >>> loss.loss(program.model, program.guide, x, y) > 0
        True
        >>> program.classify(x).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: LatentDim = 50,
        *,
        num_classes: int = 10,
        prior: nn.Module | None = None,
        prior_network: Network | None = None,
        likelihood: nn.Module | None = None,
        posterior: nn.Module | None = None,
        classifier: Network | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        encoder_sees_y: bool = True,
        decoder_sees_y: bool = True,
        hidden: Sequence[int] = (500,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__(
            x_shape,
            latent_dim,
            num_classes=num_classes,
            prior=prior,
            prior_network=prior_network,
            likelihood=likelihood,
            posterior=posterior,
            encoder=encoder,
            decoder=decoder,
            encoder_sees_y=encoder_sees_y,
            decoder_sees_y=decoder_sees_y,
            hidden=hidden,
            activation=activation,
        )
        self.prior_y, self.posterior_y = UniformOneHot(num_classes), OneHot(num_classes)
        mlp, x_shape = partial(MLP, hidden=hidden, activation=activation), tuple(x_shape)
        self.classifier = Parts(self).network(
            "classifier", classifier, mlp, x_shape, (num_classes,)
        )

    @pyro_method
    def model(self, x: Tensor, y: Tensor) -> Tensor:
        """Samples p(x, y, z) for x (N, *x_shape) and y (N,), -1 where it is not known."""
        known, label = self._known(y)
        with pyro.plate("data", len(x)):
            q = self.posterior_y(self.classifier(x))
            training_factor("label", q.log_prob(label).where(known, 0.0))
            y = pyro.sample("y", self.prior_y())
            y = label.where(known[:, None], y)  # a label holds for draws from the model, too
            z = pyro.sample("z", self.prior_given(y))
            return pyro.sample("x", self.likelihood_given(z, y), obs=x)

    @pyro_method
    def guide(self, x: Tensor, y: Tensor) -> None:
        """Samples q(y, z | x) for x (N, *x_shape) and y (N,), -1 where it is not known."""
        known, label = self._known(y)
        # exp(-1000) is 0 in float64, too, and 0 * 1000 is 0, where 0 * inf would be NaN
        logits = (1000 * label).where(known[:, None], self.classifier(x))
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", self.posterior_y(logits), infer={"enumerate": "parallel"})
            pyro.sample("z", self.posterior_given(x, y))

    def classify(self, x: Tensor) -> Tensor:
        """The probabilities q(y | x) of the classes, (N, num_classes), for x (N, *x_shape)."""
        return self.classifier(x).softmax(-1)

    def _known(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each label is known, (N,), and it one-hot, (N, num_classes), class 0 if not."""
        if y.dim() != 1 or y.is_floating_point():
            raise ValueError(
                f"the labels are of shape {tuple(y.shape)} and {y.dtype}, but a "
                f"{type(self).__name__} takes classes (N,), integers from 0 on, and -1 for a label "
                "that is missing; number the classes, or take ConditionalVAE for conditions"
            )
        return y >= 0, self.seen(y.clamp(min=0))
