"""The command `export`: decoder and encoder of a run in files for other programs and pages."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.opened import trained_program
from pyro_vae.app.options import Folder, Seed

__all__ = ["export"]


class Format(StrEnum):
    """What is written."""

    js = "js"
    onnx = "onnx"


def export(
    run: Folder,
    format: Annotated[
        Format, typer.Option("--format", help="js for plain JavaScript, or onnx.")
    ] = Format.js,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.  [default: in RUN]")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Writes decoder and encoder as files that need no Python, checked against the program.

    js: network.json, weights.bin, engine.js and an index.html that shows their use. onnx:
    decode.onnx and encode.onnx, which need the extra onnx.
    """
    from pyro_vae.app.explorer.export import example_from, export_js, export_onnx

    program, loaded = trained_program(run, seed, "cpu")
    example = example_from(program, loaded.known)
    write = export_js if format is Format.js else export_onnx
    files, missing = write(program, example, out or run / format.value)
    for line in (*files, *missing):
        print(line)
