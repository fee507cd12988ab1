"""The command `compare`: estimators of one program, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.options import BatchSize, DataDir, Device
from pyro_vae.app.tables import print_rows

__all__ = ["compare"]


def compare(
    program: Annotated[
        str, typer.Argument(help='"VAE(latent_dim=16)", my_vae.py, or the folder of a run.')
    ],
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help='An estimator, such as "IWAE"; may be repeated.  [default: Trace_ELBO, '
            "TraceMeanField_ELBO, STL, IWAE, DReG, each with vectorized draws]"
        ),
    ] = None,
    num_particles: Annotated[
        str, typer.Option(help="The numbers K of draws of the latents, for each estimator.")
    ] = "1,5,50",
    data: Annotated[
        str | None,
        typer.Option(help="The data set.  [default: that of the run, else digits]"),
    ] = None,
    batch_size: BatchSize = 100,
    repeats: Annotated[
        int, typer.Option(min=2, help="How many gradients to draw from each estimator.")
    ] = 100,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="The seed of draws and trainings; may be repeated.  [default: 0]"),
    ] = None,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Train by Trace_ELBO for so many steps first.")
    ] = 0,
    train_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Train by each estimator for so many steps, from one start."),
    ] = None,
    train_seconds: Annotated[
        float | None, typer.Option(help="Train by each for so many seconds, from one start.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="How many test data to judge these trainings by.")
    ] = 1000,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.  [default: runs/compare-PROGRAM-DATA]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Compares estimators: bounds, gradients' bias, variance and signal to noise, time, memory."""
    from pyro_vae.app import comparison as comparing
    from pyro_vae.app.run import Run

    config = Run(Path(program)).config if Path(program).is_dir() else None
    settings = comparing.Settings(
        program=program,
        data=data or (config.data if config else "digits"),
        data_dir=data_dir or (config.data_dir if config else None),
        losses=tuple(loss or comparing.LOSSES),
        num_particles=comparing.particles(num_particles),
        batch_size=batch_size,
        repeats=repeats,
        seeds=tuple(seed or [0]),
        warm_up=warm_up,
        train_steps=train_steps,
        train_seconds=train_seconds,
        limit=limit,
    )
    folder = comparing.free_folder(settings, out)
    comparison = comparing.run(settings, device)
    written = comparing.write(comparison, settings, folder)
    for header, rows in comparison.tables():
        print_rows(header, rows)
    for line in (*comparison.refusals(), *written):
        print(line)
