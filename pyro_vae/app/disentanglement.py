"""What the command `disentangle` finds: scores of a latent's numbers, and what each says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_vae import plots
from pyro_vae.datasets import Dataset
from pyro_vae.inference import (
    beta_vae_score,
    codes_and_factors,
    dci,
    explicitness,
    factor_information,
    factor_vae_score,
    modularity,
    mutual_information_gap,
    sap,
)
from pyro_vae.inference.disentanglement import Codes, Score
from pyro_vae.program import Program

__all__ = ["Judged", "judge"]


@dataclass(frozen=True)
class Judged:
    """How disentangled the numbers of a latent are.

    Args:
        codes: The numbers, and the factors of the data.
        names: What the factors are called.
        scores: The scores, by name.
        information: Of each number and each factor, in nats, (D, K).
    """

    codes: Codes
    names: tuple[str, ...]
    scores: dict[str, Score]
    information: NDArray[Any]

    @property
    def sentence(self) -> str:
        """How many numbers are dead, and which."""
        dead, number = self.codes.dead, self.codes.values.shape[1]
        if self.codes.rates is None:
            below = f"a standard deviation of {self.codes.min_std} of their mean"
        else:
            below = f"a rate of {self.codes.min_rate} nats"
        which = ": " + ", ".join(self._names(dead)) if dead else ""
        return f"{len(dead)} of {number} numbers of {self.codes.site} dead, below {below}{which}"

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Each score with what it says."""
        guess = f"{1 / max(len(self._varying), 1):.2f} by guessing"
        says = _SAYS | {
            "FactorVAE score": f"{_SAYS['FactorVAE score']}; {guess}",
            "beta-VAE score": f"{_SAYS['beta-VAE score']}; {guess}",
        }
        return [(name, f"{score.value:.3f}", says[name]) for name, score in self.scores.items()]

    def as_json(self) -> dict[str, Any]:
        """All that was found."""
        rates = self.codes.rates
        return {
            "site": self.codes.site,
            "num_data": len(self.codes.values),
            "factors": list(self.names),
            "dead": list(self.codes.dead),
            "rates": None if rates is None else rates.tolist(),
            "scores": {name: score.value for name, score in self.scores.items()},
            "of_each": {name: score.of_each for name, score in self.scores.items()},
            "information": self.information.tolist(),
        }

    def picture(self) -> Figure:
        """The matrix of mutual information, the numbers of the highest rate first.

        Dead ones are left out, as their means may well follow a factor, by next to nothing.
        """
        rates, dead = self.codes.rates, self.codes.dead
        order = np.arange(len(self.information))
        if rates is not None:
            order = np.asarray(rates.argsort(descending=True, stable=True))
        if self.num_live:
            order = order[~np.isin(order, dead)]
        labels = self._names(order.tolist())
        if rates is not None:
            labels = [f"{n}, {rates[i]:.2f}" for n, i in zip(labels, order, strict=True)]
        beside = "" if rates is None else "; beside each its rate, in nats"
        title = f"mutual information of the numbers of {self.codes.site} and the factors{beside}"
        return plots.information(self.information[order], labels, self.names, title=title)

    @property
    def num_live(self) -> int:
        """How many numbers are not dead."""
        return self.codes.values.shape[1] - len(self.codes.dead)

    @property
    def _varying(self) -> list[int]:
        factors = self.codes.factors
        return (factors.amax(0) > factors.amin(0)).nonzero()[:, 0].tolist()

    def _names(self, numbers: Sequence[int]) -> list[str]:
        return [f"{self.codes.site}[{number}]" for number in numbers]


_SAYS = {
    "MIG": "by how much the best number says more of a factor than the next",
    "DCI disentanglement": "whether a number matters for one factor alone",
    "DCI completeness": "whether a factor hangs on one number alone",
    "DCI informativeness": "how often a forest tells the factor from all numbers",
    "SAP": "by how much the best number predicts a factor better than the next",
    "FactorVAE score": "how often the steadiest number tells which factor was fixed",
    "beta-VAE score": "how often all together tell which factor was shared",
    "modularity": "whether a number says something of one factor alone",
    "explicitness": "how well a linear map of all tells the values apart; 0.50 by guessing",
}


def judge(
    program: Program,
    dataset: Dataset,
    part: Any,
    *,
    site: str | None = None,
    num_data: int = 15_000,
    seed: int = 0,
) -> Judged:
    """Scores the numbers of a latent by all metrics, with the constants of the literature.

    Args:
        program: The program.
        dataset: The data.
        part: Which of them.
        site: The latent; None if there is one alone.
        num_data: How many data to take.
        seed: Of the choice of data and of what the metrics draw.

    Raises:
        ValueError: If the factors of the data are not known.
    """
    if not dataset.factors:
        raise ValueError(
            f"the factors of {dataset.name} are not known, and by them disentanglement is judged; "
            'take data such as "sprites(size=32)", or a Dataset of your own with factors'
        )
    codes = codes_and_factors(program, part, site=site, num_data=num_data, seed=seed)
    given: tuple[Any, Any] = (codes.values, codes.factors)
    options: dict[str, Any] = {"dead": codes.dead}
    drawn = options | {"seed": seed}
    trees = dci(*given, **drawn)
    scores = {
        "MIG": mutual_information_gap(*given, **options),
        "DCI disentanglement": trees.disentanglement,
        "DCI completeness": trees.completeness,
        "DCI informativeness": trees.informativeness,
        "SAP": sap(*given, **drawn),
        "FactorVAE score": factor_vae_score(*given, **drawn),
        "beta-VAE score": beta_vae_score(*given, **drawn),
        "modularity": modularity(*given, **options),
        "explicitness": explicitness(*given, **drawn),
    }
    return Judged(codes, dataset.factors, scores, factor_information(*given))
