"""What the command `train` does: begins a run, continues it, or finds that it is done already."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from pyro_vae.inference import Fit

from .config import Config
from .cost import cost
from .first_stages import has_changed
from .lock import LOCK, locked
from .prepare import Prepared, find_device, prepare
from .results import finish
from .run import Run
from .tables import print_results
from .text import name_of
from .train import resume, train

__all__ = ["begin", "beside_resume", "free_folder", "go_on", "optimizer"]

# What goes on with a run as it was defined; data and data_dir say where the same data are now.
_BESIDE_RESUME = ("compile", "data", "data_dir", "device", "epochs", "steps", "tensorboard")


def begin(config: Config, folder: Path, device: str, *, tensorboard: bool) -> None:
    """Trains into a new folder, and prints what came out; a run that is finished is printed alone.

    Raises:
        ValueError: If the folder holds something else, or another training writes into it.
    """
    if _already_done(folder, config):
        return
    prepared = prepare(config, find_device(device))
    print(prepared.data.description)
    with locked(folder):
        if _already_done(folder, config):  # by another process, while this one prepared
            return
        _end(*train(prepared, folder, tensorboard=tensorboard), prepared)


def go_on(folder: Path, given: Mapping[str, Any]) -> None:
    """Goes on with a run.

    Args:
        folder: The run's.
        given: What stands beside --resume, by the names of the options.
    """
    run = Run(folder)
    _ = run.config  # a folder of no run is not made one by the lock
    with locked(folder):
        changes = {name: given[name] for name in ("data", "data_dir", "compile") if name in given}
        if "epochs" in given or "steps" in given:
            changes |= {name: given.get(name) for name in ("epochs", "steps")}
        config = replace(run.config, **changes)
        prepared, training = resume(
            run,
            config,
            find_device(given.get("device", "auto")),
            moved="data" in given or "data_dir" in given,
            tensorboard=given.get("tensorboard", False),
        )
        _end(run, training, prepared)


def beside_resume(context: typer.Context) -> dict[str, Any]:
    """What is given beside --resume; refuses what would make it another run."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    for name in given:
        if name not in (*_BESIDE_RESUME, "resume"):
            raise ValueError(
                f"--resume goes on with a run as it was defined, so {name!r} cannot be given "
                f"beside it; only {', '.join(_BESIDE_RESUME)} can"
            )
    return {name: context.params[name] for name in given}


def optimizer(optim: str | None, lr: float | None) -> str:
    """The text of the optimizer: as given, or Adam with a learning rate."""
    if optim is not None and lr is not None:
        raise ValueError(f"give --lr or --optim, not both: {optim} has a learning rate of its own")
    if lr is not None and not 0 < lr < float("inf"):
        raise ValueError(f"--lr must be positive and finite, but is {lr}")
    return optim or f"Adam({{'lr': {1e-3 if lr is None else lr!r}}})"


def free_folder(config: Config) -> Path:
    """A folder in runs/, named after program and data, that does not exist yet."""
    names = name_of(config.program), name_of(config.data)
    folder = Path("runs", "-".join(names).lower())
    number = 2
    while folder.exists():
        folder = Path("runs", f"{'-'.join(names).lower()}-{number}")
        number += 1
    return folder


def _end(run: Run, training: Fit, prepared: Prepared) -> None:
    if training.interrupted:
        print(f"Interrupted at step {training.svi.steps}; {_resuming(run.folder)}")
        raise typer.Exit(130)
    print(cost(training))
    print_results(finish(run, prepared, training), run.folder)


def _already_done(folder: Path, config: Config) -> bool:
    """Prints the results of a finished run of the same definition; refuses another's folder."""
    if not folder.exists() or (folder.is_dir() and {p.name for p in folder.iterdir()} <= {LOCK}):
        return False
    if not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; name a folder that does not exist yet")
    run = Run(folder)
    if run.config == config and not run.has_checkpoint():
        return False  # it was ended before its first epoch
    if run.config == config and run.results is not None:
        changed = [str(s) for s, copy in run.sources(config) if not _same_file(s, copy)]
        changed += [path for path, stage in run.first_stages.items() if has_changed(path, stage)]
        if changed:
            raise ValueError(
                f"{', '.join(changed)} has changed since {folder} was trained with it; name a new "
                "folder with --out"
            )
        print(f"{folder} holds this very run, finished; nothing to do.")
        print_results(run.results, folder)
        return True
    what = "this very run, not finished yet" if run.config == config else "another run"
    raise ValueError(
        f"{folder} holds {what}; name a new folder with --out, or go on with that one: "
        + _resuming(folder)
    )


def _resuming(folder: Path) -> str:
    return f"pyro-vae train --resume {shlex.quote(str(folder))}"


def _same_file(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()
