"""The arguments and options that several commands have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BatchSize",
    "Data",
    "DataDir",
    "Device",
    "Folder",
    "Loss",
    "OtherData",
    "Out",
    "Part",
    "Program",
    "Seed",
    "Split",
]


class Part(StrEnum):
    """The parts of a data set."""

    train = "train"
    valid = "valid"
    test = "test"


Program = Annotated[
    str, typer.Argument(help='"VAE(latent_dim=16)", my_vae.py or "my_vae.py:MyVAE(latent_dim=16)".')
]
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that train has written.")]
Data = Annotated[str, typer.Option(help="The data set, such as \"mnist(binarize='dynamic')\".")]
Loss = Annotated[
    str, typer.Option(help='The estimator, such as "Trace_ELBO(beta=4)" or "mine.py:Mine()".')
]
DataDir = Annotated[str | None, typer.Option(help="The folder with the files of data sets.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The seed of all random numbers.")]
Out = Annotated[Path | None, typer.Option(help="The file to write.  [default: in RUN]")]
BatchSize = Annotated[int, typer.Option(min=1, help="The number of data in a batch.")]
Split = Annotated[Part, typer.Option("--split", help="Which part of the data.")]
OtherData = Annotated[
    str | None, typer.Option("--data", help="Another data set.  [default: the one trained on]")
]
