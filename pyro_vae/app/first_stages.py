"""First stages: the trained programs that a program takes parts from, by `load('runs/first')`.

A run folder holds no copy of them. It keeps the path of each and the hash of its weights, and the
run is not opened with other weights.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from .files import CONFIG, WEIGHTS

__all__ = ["FirstStage", "finding_again", "has_changed", "noting", "place_of"]

# Where the program that is being read finds the first stage of a path.
_find: ContextVar[Callable[[str], Path] | None] = ContextVar("find_first_stage", default=None)


@dataclass(frozen=True)
class FirstStage:
    """What a run folder keeps of a first stage.

    Attributes:
        folder: Its absolute path.
        from_here: Its path from the run folder, which holds where both were moved together.
        sha256: The hash of its weights.
    """

    folder: str
    from_here: str
    sha256: str

    @classmethod
    def at(cls, path: str, sha256: str, run: Path) -> "FirstStage":
        """The first stage at a path, for the folder of a run."""
        return cls(os.path.abspath(path), os.path.relpath(path, run), sha256)


def place_of(path: str) -> Path:
    """The folder that `load` reads: its path, or where a run that is being opened finds it."""
    find = _find.get()
    return Path(path) if find is None else find(path)


@contextmanager
def noting() -> Iterator[dict[str, str]]:
    """Notes what a new program loads: yields the hash of the weights for each path given."""
    noted: dict[str, str] = {}

    def note(path: str) -> Path:
        if not (Path(path) / CONFIG).is_file():
            raise FileNotFoundError(f"there is no run folder {path!r} to load")
        # Before they are loaded: weights that change in between are refused later.
        noted[path] = _sha256(Path(path)) or ""
        return Path(path)

    with _finding(note):
        yield noted


def finding_again(known: Mapping[str, FirstStage], run: Path) -> AbstractContextManager[None]:
    """Lets the program of a run find its first stages, whatever the current directory is.

    Args:
        known: What the run keeps of them, by path.
        run: Its folder.
    """

    def find(path: str) -> Path:
        if path not in known:
            raise ValueError(f"{run} was not trained on a first stage {path!r}; train anew")
        stage = known[path]
        places = [Path(stage.folder), Path(os.path.normpath(run / stage.from_here))]
        hashes = {place: _sha256(place) for place in places}
        for place in places:
            if hashes[place] == stage.sha256:
                return place
        for place in places:
            if hashes[place] is not None:
                raise ValueError(
                    f"the weights of {place} have changed since {run} was trained on them; put "
                    f"the old ones back, or train {run} anew"
                )
        raise FileNotFoundError(
            f"{run} was trained on the first stage {path!r}, which is not there any more; put its "
            f"folder back at {places[0]}"
            + (f" or {places[1]}" if places[1].absolute() != places[0] else "")
        )

    return _finding(find)


def has_changed(path: str, stage: FirstStage) -> bool:
    """Whether a path leads, from here, to other weights than those of a first stage, or none."""
    return _sha256(Path(path)) != stage.sha256


@contextmanager
def _finding(find: Callable[[str], Path]) -> Iterator[None]:
    token = _find.set(find)
    try:
        yield
    finally:
        _find.reset(token)


def _sha256(folder: Path) -> str | None:
    """The hash of the weights in a run folder; None where there are none."""
    try:
        with open(folder / WEIGHTS, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
