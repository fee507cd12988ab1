"""Names of four invented tongues, drawn from a known distribution: nothing is downloaded.

A name is of one tongue and of one kind of vowels, a harmony as Finnish has it, which all of its
syllables share; so there is something to say of a name as a whole. log p(name) is known exactly.
"""

import math
from dataclasses import dataclass, replace
from random import Random

import torch

from .dataset import Dataset
from .tokens import Numbering, numbered
from .vocabulary import Vocabulary

__all__ = ["log_prob_of_name", "names"]

_NUMBER = 10_000
_VOWELS = ("aou", "eiy")


@dataclass(frozen=True)
class _Tongue:
    """Letters, the most frequent first: one is as frequent as 1 / its place.

    Args:
        starts: What a syllable begins with, before its vowel.
        ends: What half of the names end with, behind their last vowel.
        syllables: The probabilities of 2, 3 and 4 syllables.
    """

    starts: str
    ends: str
    syllables: tuple[float, float, float]


_TONGUES = (
    _Tongue("lnmrvsjb", "ns", (0.2, 0.5, 0.3)),
    _Tongue("kgtdbrzp", "rk", (0.7, 0.2, 0.1)),
    _Tongue("szfhvlcd", "lm", (0.4, 0.4, 0.2)),
    _Tongue("tmpknwqs", "kn", (0.3, 0.6, 0.1)),
)


def names() -> Dataset:
    """10,000 names in four invented tongues as sequences of letters: nothing is downloaded.

    x is (10,): up to nine letters, the end mark 0, and -1 behind it; y is the tongue. A fixed
    permutation splits 80/10/10. As the names are drawn from a known distribution, one knows what
    the best of all programs has: `Dataset.description` says what the test names have in nats.

    Example:
        >>> data = names()
        >>> data.vocabulary.texts(data.train.x[:3])
        ['zesevese', 'tagoko', 'tamun']
        >>> data.num_tokens, data.num_classes
        (26, 4)
    """
    random = Random(0)
    drawn = [_draw(random) for _ in range(_NUMBER)]
    found, y = [name for name, _ in drawn], torch.tensor([tongue for _, tongue in drawn])
    vocabulary = Vocabulary.of(found, separator="", unknown=False)
    numbering = Numbering(("letters", "names"), "", vocabulary=vocabulary)
    data = numbered("names", "names()", {"train": found}, numbering, y=y)
    known = [log_prob_of_name(name) for name in vocabulary.texts(data.test.x)]
    best = f"{sum(known) / len(known):.2f} nats a test name in the law that drew them all"
    return replace(data, notes=f"{data.notes}; {len(_TONGUES)} classes; {best}")


def log_prob_of_name(name: str) -> float:
    """Log p(name) in the law that draws them, in nats: -inf of what is no such name."""
    syllables, ends = len(name) // 2, name[len(name) // 2 * 2 :]
    if not 2 <= syllables <= 4:
        return -math.inf
    p = 0.0
    for tongue in _TONGUES:
        of_tongue = (
            tongue.syllables[syllables - 2] * 0.5 * (_share(ends, tongue.ends) if ends else 1)
        )
        for start in name[: 2 * syllables : 2]:
            of_tongue *= _share(start, tongue.starts)
        for vowels in _VOWELS:
            of_vowels = math.prod(_share(v, vowels) for v in name[1 : 2 * syllables : 2])
            p += of_tongue * of_vowels / (len(_TONGUES) * len(_VOWELS))
    return math.log(p) if p else -math.inf


def _draw(random: Random) -> tuple[str, int]:
    """A name and the place of its tongue."""
    y = random.randrange(len(_TONGUES))
    tongue, vowels = _TONGUES[y], random.choice(_VOWELS)
    (number,) = random.choices((2, 3, 4), tongue.syllables)
    syllables = (_letter(random, tongue.starts) + _letter(random, vowels) for _ in range(number))
    name = "".join(syllables)
    return name + (_letter(random, tongue.ends) if random.random() < 0.5 else ""), y


def _letter(random: Random, letters: str) -> str:
    return random.choices(letters, _weights(letters))[0]


def _share(letter: str, letters: str) -> float:
    """The probability of a letter among some."""
    weights = _weights(letters)
    return weights[letters.index(letter)] / sum(weights) if letter in letters else 0.0


def _weights(letters: str) -> list[float]:
    return [1 / place for place in range(1, len(letters) + 1)]
