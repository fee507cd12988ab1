"""How different two images look: a distance between what a network makes of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.functional import normalize

from pyro_vae.shapes import InShape, input_shapes

from .network import fold, leading_shape_of_all

__all__ = ["PerceptualDistance"]


class PerceptualDistance(nn.Module):
    """d(x, y) = sum_l mean_places |f_l(x) - f_l(y)|^2, of features f_l scaled to length 1.

    The features of a layer are vectors over its channels, one at each place of the image. This is
    LPIPS without its learned weights of channels, for any network: a classifier of your own, or one
    that is trained here, such as the `classifier` of a `SemiSupervisedVAE`.

    Args:
        network: A network of images with an `in_shape`, such as `ConvEncoder`.
        layers: The names of the layers whose outputs are compared, such as ("layers.2",); by
            default all nonlinearities, or the output of a network that has none.

    Raises:
        ValueError: If the network has no layer of such a name.
        TypeError: If it does not say its in_shape.

    Reference:
        Zhang et al., 2018, https://arxiv.org/abs/1801.03924, equation 1

    Example:
        >>> distance = PerceptualDistance(ConvEncoder((1, 8, 8), (10,), channels=(4, 8)))
        >>> distance(torch.rand(5, 7, 1, 8, 8), torch.rand(5, 7, 1, 8, 8)).shape
        torch.Size([5, 7])
    """

    def __init__(self, network: nn.Module, *, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        shape: InShape | None = getattr(network, "in_shape", None)
        if shape is None or len(input_shapes(shape)) > 1:
            raise TypeError(
                f"the network of a PerceptualDistance is a {type(network).__name__}, whose "
                f"in_shape is {shape}; give a network of one image that says its in_shape"
            )
        (image,) = input_shapes(shape)
        self.in_shape, self.out_shape, self.network = (image, image), (), network
        self.layers = _nonlinearities(network) if layers is None else tuple(layers)
        known = dict(network.named_modules())
        if lacking := [name for name in self.layers if name not in known]:
            raise ValueError(
                f"this {type(network).__name__} has no layer {lacking[0]!r}; its layers are "
                f"{', '.join(name for name in known if name)}"
            )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Maps images x, y `(..., *in_shape[0])`, of broadcast leading shapes, to (...)."""
        leading_shape_of_all(self, (x, y), self.in_shape)
        pairs = zip(self._features(x), self._features(y), strict=True)
        distances = [(f - g).square().sum(-2).mean(-1) for f, g in pairs]
        return sum(distances[1:], distances[0])

    def _features(self, x: Tensor) -> list[Tensor]:
        """The features of each layer, (..., channels, places), of length 1."""
        image = self.in_shape[0]
        batch_shape = x.shape[: x.dim() - len(image)]
        found: list[Tensor] = []
        with _listening(self.network, self.layers, found):
            out = self.network(fold((x,), (image,), batch_shape, image))
        flat = [f.flatten(2) if f.dim() > 2 else f.unsqueeze(-1) for f in found or [out.flatten(1)]]
        # Where all features are 0, as of a dead place, the gradient must not be 1 / 0.
        unit = [normalize(f, dim=1, eps=1e-3) for f in flat]
        return [f.reshape(*batch_shape, *f.shape[1:]) for f in unit]


def _nonlinearities(network: nn.Module) -> tuple[str, ...]:
    return tuple(
        name
        for name, part in network.named_modules()
        if type(part).__module__ == nn.ReLU.__module__ and not list(part.parameters())
    )


@contextmanager
def _listening(network: nn.Module, layers: Sequence[str], found: list[Tensor]) -> Iterator[None]:
    """Appends the outputs of layers to `found`, in the order in which they run."""

    def hear(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(output)

    hooks = [network.get_submodule(name).register_forward_hook(hear) for name in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
