"""The command `train`: a program trained on data, into a run folder."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.options import BatchSize, Data, DataDir, Device, Loss, Seed

__all__ = ["train"]


def train(
    context: typer.Context,
    program: Annotated[
        str | None,
        typer.Argument(help='"VAE(latent_dim=16)", my_vae.py or "my_vae.py:MyVAE(latent_dim=16)".'),
    ] = None,
    data: Data = "digits",
    loss: Loss = "Trace_ELBO",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data.  [default: 20]")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of epochs.")] = None,
    batch_size: BatchSize = 128,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of Adam.  [default: 0.001]")
    ] = None,
    optim: Annotated[
        str | None, typer.Option(help="Another optimizer: \"ClippedAdam({'lr': 1e-3})\".")
    ] = None,
    lr_schedule: Annotated[
        str | None, typer.Option(help='A factor of the learning rate: "cosine(1, 0, 10_000)".')
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="The largest norm of the whole gradient.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder.  [default: runs/PROGRAM-DATA]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run's folder, to go on with its training.")
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Whether to compile the step.  [default: where it pays]",
            show_default=False,
        ),
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Layers multiply in bfloat16: faster, less exact.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Writes TensorBoard events too.")] = False,
) -> None:
    """Trains a program on data, and writes all about it into a run folder."""
    from pyro_vae.app import session
    from pyro_vae.app.config import Config

    if resume is not None:
        session.go_on(resume, session.beside_resume(context))
        return
    if program is None:
        raise ValueError("name a program to train, such as VAE, or --resume a run")
    config = Config(
        program=program,
        data=data,
        loss=loss,
        optim=session.optimizer(optim, lr),
        epochs=20 if epochs is None and steps is None else epochs,
        steps=steps,
        batch_size=batch_size,
        lr_schedule=lr_schedule,
        clip_norm=clip_norm,
        seed=seed,
        data_dir=data_dir,
        bfloat16=bfloat16,
        compile=compile,
    )
    session.begin(config, out or session.free_folder(config), device, tensorboard=tensorboard)
