"""Temperatures of latents: draws nearer to the means of their distributions, or further off."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyro_vae.distributions import tempered
from pyro_vae.inference.terms import inner
from pyro_vae.sampling import Wishes

__all__ = ["Temperature", "Tempering"]

Temperature = float | Mapping[str, float]


class Tempering(Messenger):
    """Draws the latents of a program at temperatures.

    The standard deviation of a Normal, of `Laplace`, of `StudentT` and of the components of a
    mixture of Normals is multiplied by the temperature; at 0 they are drawn at their location. A
    prior of codes draws them one by one with probabilities softmax(logits / temperature), and at 0
    the most probable one; and so does a likelihood of tokens. Others are drawn as they are.

    Args:
        temperature: That of all latents and data, or of some by the names of their sites.
        wishes: Those of the `sampling` that this stands in, by which priors of codes draw.

    Raises:
        ValueError: If a temperature is below 0 or not finite.
        TypeError: If it is no number.
    """

    def __init__(self, temperature: Temperature, wishes: Wishes) -> None:
        super().__init__()
        self.temperature, self.wishes = temperature, wishes
        if isinstance(temperature, Mapping):
            for name, number in temperature.items():
                _check(number, f" of latent {name!r}")
        else:
            _check(temperature, "")
        self._takes: dict[str, bool] = {}  # whether a latent has a temperature, by its name
        self._kinds: dict[str, str] = {}  # the distribution of each
        self._asked = 0

    def of(self, name: str) -> float:
        """The temperature of a latent."""
        if isinstance(self.temperature, Mapping):
            return self.temperature.get(name, 1.0)
        return self.temperature

    def check(self) -> None:
        """Refuses, after a run, temperatures of what the program does not have.

        Raises:
            ValueError: If a named latent was not drawn, or has no temperature; if none has any.
        """
        if not isinstance(self.temperature, Mapping):
            if self.temperature != 1 and not any(self._takes.values()):
                raise ValueError(
                    "a temperature is for latents with a Normal distribution and for what draws "
                    "codes or tokens one after the other, such as PixelCNNPrior and "
                    "RecurrentTokens, and this program has none"
                )
            return
        unknown = [name for name in self.temperature if name not in self._takes]
        if unknown:
            raise ValueError(
                f"temperature names {unknown}, but the latents that the model draws are "
                f"{list(self._takes)}"
            )
        for name in self.temperature:
            if not self._takes[name] and self.temperature[name] != 1:
                raise ValueError(
                    f"latent {name!r} has no temperature, since its distribution, "
                    f"{self._kinds[name]}, is no Normal and no prior of codes"
                )

    def _pyro_sample(self, msg: Any) -> None:
        self._asked = self.wishes.asked_for_sharpness
        if _is_drawn(msg) and not _is_latent(msg):
            self.wishes.temperature = self.of(msg["name"])
        if _is_latent(msg):
            temperature, name = self.of(msg["name"]), msg["name"]
            fn = tempered(msg["fn"], temperature)
            # a run on draws of an earlier one asks no prior of codes
            self._takes[name] = self._takes.get(name, False) or fn is not None
            self._kinds[name] = type(inner(msg["fn"])).__name__
            self.wishes.temperature = temperature
            if fn is not None and temperature != 1:
                msg["fn"] = fn

    def _pyro_post_sample(self, msg: Any) -> None:
        if _is_drawn(msg) and self.wishes.asked_for_sharpness > self._asked:
            self._takes[msg["name"]] = True


def _is_drawn(msg: Any) -> bool:
    """Whether a site is a latent, or data that are drawn."""
    return not msg["is_observed"] and not site_is_subsample(msg)


def _is_latent(msg: Any) -> bool:
    return _is_drawn(msg) and not msg["infer"].get("was_observed")


def _check(temperature: Any, of: str) -> None:
    if not isinstance(temperature, Real) or isinstance(temperature, bool):
        raise TypeError(
            f"the temperature{of} is {temperature!r}, but must be a number, or a number for each "
            "of some latents, such as {'z_1': 0.5}"
        )
    if not 0 <= float(temperature) < float("inf"):
        raise ValueError(
            f"the temperature{of} is {temperature}, but must be at least 0, which draws the mean, "
            "and finite"
        )
