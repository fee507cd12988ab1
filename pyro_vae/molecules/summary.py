"""A set of molecules in a few numbers, beside those of data: `summary`."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .frechet import chemnet, frechet_distance
from .metrics import internal_diversity, novelty, uniqueness, valid_share
from .parsing import canonical
from .properties import lengths, log_p, qed

__all__ = ["FEWEST_FOR_FCD", "Spread", "Summary", "summary"]

FEWEST_FOR_FCD = 1_000  # twice the 512 activations, whose covariance is to have full rank
_UNIQUE_OF = (1_000, 10_000)


@dataclass(frozen=True)
class Spread:
    """How a number is spread over molecules.

    Args:
        mean: Its mean.
        deviation: Its standard deviation.
        low: What a twentieth is below.
        high: What a twentieth is above.
    """

    mean: float
    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike) -> "Spread":
        """That of some values, NaN of none."""
        x = np.asarray(values, dtype=float)
        if not x.size:
            return cls(*(math.nan,) * 4)
        low, high = np.quantile(x, [0.05, 0.95]).tolist()
        return cls(float(x.mean()), float(x.std()), low, high)


@dataclass(frozen=True)
class Summary:
    """A set of molecules in a few numbers; see `pyro_vae.molecules.metrics` for what they are.

    Attributes:
        number: How many texts there are.
        valid: The share of them that parses.
        unique: The share of different molecules, by the number of valid ones that it is of.
        novel: The share of different molecules that are not in the training data.
        diversity_1: IntDiv_1.
        diversity_2: IntDiv_2.
        fcd: The Frechet ChemNet distance to the reference; None if it was not computed.
        log_p: Of those that parse.
        qed: Likewise.
        length: The tokens of their canonical SMILES.
    """

    number: int
    valid: float
    unique: dict[int, float]
    novel: float
    diversity_1: float
    diversity_2: float
    fcd: float | None
    log_p: Spread
    qed: Spread
    length: Spread

    def as_json(self) -> dict[str, Any]:
        """Its numbers by name, as values of JSON, which has no NaN."""
        return _without_nan(asdict(self))


def summary(
    smiles: Sequence[str], train: Collection[str], activations: Any | None = None
) -> Summary:
    """What there is to say of a set of molecules.

    Args:
        smiles: Their texts, of which some may not parse.
        train: The canonical SMILES of the training data.
        activations: What `chemnet` sees of the reference, (M, 512); None leaves FCD out, and so do
            fewer than 1,000 molecules that parse.
    """
    valid = [text for text in canonical(smiles) if text is not None]
    of = [k for k in _UNIQUE_OF if k <= len(valid)] or [len(valid)]
    fcd = None
    if activations is not None and len(valid) >= FEWEST_FOR_FCD:
        fcd = frechet_distance(chemnet(valid), activations)
    return Summary(
        number=len(smiles),
        valid=valid_share(smiles),
        unique={k: uniqueness(valid, max(k, 1)) for k in of},
        novel=novelty(valid, train),
        diversity_1=internal_diversity(valid),
        diversity_2=internal_diversity(valid, p=2),
        fcd=fcd,
        log_p=Spread.of(log_p(valid)),
        qed=Spread.of(qed(valid)),
        length=Spread.of(lengths(valid)),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _without_nan(part) for name, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
