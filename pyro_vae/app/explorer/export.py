"""A program's functions in files, for pages and programs that are not ours."""

import io
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.app.writing import write_json, write_whole
from pyro_vae.arguments import takes_labels
from pyro_vae.extras import missing_extra
from pyro_vae.program import Program

from .functions import Example, Function, decode, encode, log_joint
from .graph import TOLERANCE, Weights, captured, off
from .sources import engine_source

__all__ = ["example_from", "export_js", "export_onnx"]

Maker = Callable[[Program, Example], Function]
_MAKERS: Mapping[str, Maker] = {"decode": decode, "encode": encode, "log_joint": log_joint}
_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>What a latent of zeros decodes to</title>
<pre id="shown"></pre>
<script src="engine.js"></script>
<script>
  const read = (name, kind) => fetch(name).then((response) => response[kind]());
  Promise.all([read("network.json", "json"), read("weights.bin", "arrayBuffer")]).then((files) => {
    const decode = Engine.load(files[0].decode, files[1]);
    const zeros = ({ shape }) => new Float32Array(shape.reduce((product, n) => product * n, 1));
    const z = Object.entries(decode.inputs).map(([name, input]) => [name, zeros(input)]);
    const { picture } = decode(Object.fromEntries(z));
    document.getElementById("shown").textContent = Array.from(picture).join(" ");
  });
</script>
"""


def example_from(program: Program, known: Mapping[str, Any]) -> Example:
    """A datum of the shape and type of those that a run was trained on, with a label.

    Args:
        program: What was trained.
        known: What its data know; see `Run.known`.
    """
    dtype, tokens = known.get("x_dtype"), known.get("num_tokens")
    x = torch.rand(1, *known["x_shape"]).round()
    if tokens is not None:
        x = torch.randint(tokens, x.shape)
    x = x if dtype is None else x.to(dtype)
    if not takes_labels(program):
        return Example(x)
    if "y_shape" in known:
        return Example(x, torch.rand(1, *known["y_shape"]))
    return Example(x, torch.zeros(1, dtype=torch.long) if "num_classes" in known else None)


def export_js(program: Program, example: Example, folder: Path) -> tuple[list[Path], list[str]]:
    """Writes `network.json`, `weights.bin`, `engine.js`, and `index.html`, which shows their use.

    Returns:
        The files, and a sentence on each function that there is none of.

    Raises:
        ValueError: If the decoder cannot be exported.
    """
    weights, network, missing = Weights(), {}, []
    for name, make in _MAKERS.items():
        try:
            network[name] = make(program, example).traced().description(weights)
        except ValueError as error:
            if name == "decode":
                raise
            missing.append(f"{name} is left out: {error}")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / n for n in ("network.json", "weights.bin", "engine.js", "index.html")]
    write_json(files[0], network)
    for path, content in zip(
        files[1:], (weights.content, engine_source().encode(), _PAGE.encode()), strict=True
    ):
        write_whole(path, content)
    return files, missing


def export_onnx(program: Program, example: Example, folder: Path) -> tuple[list[Path], list[str]]:
    """Writes `decode.onnx` and `encode.onnx`, for one datum at a time.

    Where onnxruntime is installed, each is compared with the program first.

    Returns:
        The files, and a sentence on each function that there is none of.

    Raises:
        ValueError: If the extra is not installed, if the decoder cannot be exported, or if what was
            exported gives something else than the program.
    """
    if find_spec("onnxscript") is None or find_spec("onnx") is None:
        raise missing_extra("--format onnx", "onnxscript", "onnx")
    found, missing = {}, []
    for name in ("decode", "encode"):
        try:
            found[name] = _onnx(name, _MAKERS[name](program, example))
        except ValueError as error:
            if name == "decode":
                raise
            missing.append(f"{name} is left out: {error}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        write_whole(folder / f"{name}.onnx", content)
    return [folder / f"{name}.onnx" for name in found], missing


def _onnx(name: str, function: Function) -> bytes:
    """A function as an ONNX file, checked."""
    names, tensors = list(function.inputs), tuple(function.inputs.values())

    def positional(*given: Tensor) -> tuple[Tensor, ...]:
        return function.call(**dict(zip(names, given, strict=True)))

    module = captured(positional, tensors)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        try:
            made: Any = torch.onnx.export(
                module,
                tensors,
                input_names=names,
                output_names=[
                    f"{output}_out" if output in names else output for output in function.outputs
                ],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            made.save(content)
        except Exception as error:  # of whatever kind the exporter's passes raise
            first = str(error).strip().partition("\n")[0]
            raise ValueError(f"torch.onnx cannot export {name}: {first}") from error
    if find_spec("onnxruntime") is not None:
        _compare(name, content.getvalue(), function)
    return content.getvalue()


def _compare(name: str, content: bytes, function: Function) -> None:
    """Refuses an ONNX file that does not give what the program does."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    taken = {given.name for given in session.get_inputs()}
    for inputs in (function.inputs, function.others()):
        given = {n: t.numpy() for n, t in inputs.items() if n in taken}
        found = session.run(None, given)
        for output, value in zip(function(**inputs).items(), found, strict=True):
            distance = off(torch.from_numpy(value), output[1])
            if not distance <= TOLERANCE:
                raise ValueError(
                    f"the ONNX file of {name} gives {output[0]} that is off by {distance:.2g}; "
                    "take another version of onnxscript or torch, or --format js"
                )
