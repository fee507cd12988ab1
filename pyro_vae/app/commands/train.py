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
        int | None, typer.Option(min=1, help="How often to go through the data.  [default: 20]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="The number of steps, instead of epochs.")
    ] = None,
    batch_size: BatchSize = 128,
    lr: Annotated[
        float | None, typer.Option(help="The learning rate of Adam.  [default: 0.001]")
    ] = None,
    optim: Annotated[
        str | None,
        typer.Option(help="An optimizer other than Adam: \"ClippedAdam({'lr': 1e-3})\"."),
    ] = None,
    lr_schedule: Annotated[
        str | None,
        typer.Option(help='A factor of the learning rate by step: "cosine(1, 0, 10_000)".'),
    ] = None,
    penalty: Annotated[
        str | None,
        typer.Option(help='What is added to the loss: "Spectral(0.01)" or "mine.py:L1(1e-4)".'),
    ] = None,
    recompute_batch_statistics: Annotated[
        bool,
        typer.Option(
            "--recompute-batch-statistics",
            help="Take batch normalization's averages anew, of all training data, before judging.",
        ),
    ] = False,
    guide_steps: Annotated[
        str | None,
        typer.Option(help='Steps of the guide alone before each of the model: 5, "Aggressive()".'),
    ] = None,
    clip_norm: Annotated[
        float | None,
        typer.Option(help="Scale the gradient of all parameters together down to this norm."),
    ] = None,
    valid_every: Annotated[
        int, typer.Option(min=1, help="Judge the validation data once in so many epochs.")
    ] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.  [default: runs/PROGRAM-DATA]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A folder that train has written: continue its training.")
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the training step, or do not.  [default: where it saves time]",
            show_default=False,
        ),
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Multiply matrices in bfloat16: faster, less exact.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write events for TensorBoard, too.")] = False,
) -> None:
    """Trains a program on data, and writes a run folder: weights, settings, test results."""
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
        penalty=penalty,
        recompute_batch_statistics=recompute_batch_statistics,
        guide_steps=guide_steps,
        clip_norm=clip_norm,
        valid_every=valid_every,
        seed=seed,
        data_dir=data_dir,
        bfloat16=bfloat16,
        compile=compile,
    )
    session.begin(config, out or session.free_folder(config), device, tensorboard=tensorboard)
