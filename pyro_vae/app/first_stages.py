"""First stages: the trained programs that a program takes parts from, by `load('runs/first')`.

A run folder keeps a copy of what it needs of each, so that it can be moved, sent, and opened when
the first stage is trained anew or gone. Weights are linked where the file system can, which takes
no room: no training writes into a file that another folder shares.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from .files import CHECKPOINT, CONFIG, FIRST_STAGES, METRICS, RESULTS, WEIGHTS
from .lock import LOCK

__all__ = ["FirstStage", "finding_again", "has_changed", "noting", "place_of"]

# Where the program that is being read finds the first stage of a path.
_find: ContextVar[Callable[[str], Path] | None] = ContextVar("find_first_stage", default=None)

# What opening a program does not need: how it was trained, and what came out.
_OUTCOMES = (LOCK, CHECKPOINT, METRICS, RESULTS, "evaluation-*.json", "*.png", "events.*")


@dataclass(frozen=True)
class FirstStage:
    """What a run folder keeps of a first stage.

    Attributes:
        folder: The absolute path of the folder that was copied.
        copy: The folder of the copy, as seen from the run folder.
        sha256: The hash of its weights.
    """

    folder: str
    copy: str
    sha256: str

    @classmethod
    def copied(cls, path: str, sha256: str, run: Path, number: int) -> "FirstStage":
        """Copies a first stage into the folder of a run.

        Args:
            path: That of the first stage.
            sha256: The hash of the weights that the program was made of.
            run: The folder of the run.
            number: Of the first stage among those of the run.

        Raises:
            ValueError: If its weights are not those any more.
        """
        stage = cls(os.path.abspath(path), f"{FIRST_STAGES}/{number}", sha256)
        place = run / stage.copy
        outcomes = shutil.ignore_patterns(*_OUTCOMES)

        def ignore(folder: str, names: list[str]) -> set[str]:
            itself = {name for name in names if Path(folder, name).absolute() == run.absolute()}
            return outcomes(folder, names) | itself

        shutil.copytree(path, place, ignore=ignore, copy_function=_copy, dirs_exist_ok=True)
        if _sha256(place) != sha256:
            raise ValueError(f"the weights of {path} have changed while they were read; train anew")
        return stage


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
    """Lets the program of a run find the copies of its first stages.

    Args:
        known: What the run keeps of them, by path.
        run: Its folder.
    """

    def find(path: str) -> Path:
        if path not in known:
            raise ValueError(f"{run} was not trained on a first stage {path!r}; train anew")
        place = run / known[path].copy
        found = _sha256(place)
        if found is None:
            raise FileNotFoundError(
                f"{run} lacks {place}, its copy of the first stage {path!r}; copy the whole folder "
                "of the run"
            )
        if found != known[path].sha256:
            raise ValueError(
                f"the weights in {place} are not those of {path!r} that {run} was trained on; put "
                "those back, or train anew"
            )
        return place

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


def _copy(file: str, copy: str) -> None:
    """Copies a file; weights get a second name instead, where the file system gives one."""
    if Path(file).name == WEIGHTS:
        with suppress(OSError):
            os.link(file, copy)
            return
    shutil.copy(file, copy)


def _sha256(folder: Path) -> str | None:
    """The hash of the weights in a run folder; None where there are none."""
    try:
        with open(folder / WEIGHTS, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
