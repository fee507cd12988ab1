"""What defines a training, and the file of a run folder that says so."""

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from .files import CONFIG
from .first_stages import FirstStage

__all__ = ["Config", "read_config"]


@dataclass(frozen=True)
class Config:
    """What defines a training, as texts and numbers."""

    program: str
    data: str
    loss: str
    optim: str
    epochs: int | None
    steps: int | None
    batch_size: int
    lr_schedule: str | None
    clip_norm: float | None
    seed: int
    data_dir: str | None
    bfloat16: bool = False
    valid_every: int = 1
    penalty: str | None = None
    recompute_batch_statistics: bool = False
    guide_steps: str | None = None
    compile: bool | None = field(default=None, compare=False)  # it changes rounding alone


# What runs of earlier versions have too.
_REQUIRED = [f.name for f in fields(Config) if f.default is MISSING]
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("program", "data", "loss", "optim"), str),
    **dict.fromkeys(("epochs", "steps"), int | None),
    **dict.fromkeys(("batch_size", "seed"), int),
    "valid_every": int | None,
    **dict.fromkeys(("lr_schedule", "data_dir", "directory", "penalty"), str | None),
    "guide_steps": str | None,
    **dict.fromkeys(("bfloat16", "compile", "recompute_batch_statistics"), bool | None),
    "clip_norm": float | int | None,
    "known": dict,
    "first_stages": dict | None,
    "resumed": list | None,
}


def read_config(folder: Path) -> dict[str, Any]:
    """What a run folder says of its training, checked.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If it is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {path}")
    try:
        content: dict[str, Any] = dict(json.loads(path.read_text()))
        missing = {"known", *_REQUIRED} - set(content)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); train anew") from error
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {sorted(missing)}; train anew")
    wrong = [name for name, kind in _KINDS.items() if not isinstance(content.get(name), kind)]
    if not wrong and not isinstance(content["known"].get("x_shape"), list):
        wrong = ["known"]
    if not wrong and not _are_first_stages(content.get("first_stages") or {}):
        wrong = ["first_stages"]
    if wrong:
        raise ValueError(
            f"{path} is damaged: {wrong[0]!r} cannot be {content.get(wrong[0])!r:.40}; train anew"
        )
    return content


def _are_first_stages(content: dict[str, Any]) -> bool:
    names = {field.name for field in fields(FirstStage)}
    return all(
        isinstance(stage, dict)
        and stage.keys() == names
        and all(isinstance(value, str) for value in stage.values())
        for stage in content.values()
    )
