"""Weights of Stable Diffusion's autoencoder in safetensors files, of either layout.

diffusers   encoder.down_blocks.0.resnets.1.conv1.weight, alone in a file or folder
LDM         encoder.down.0.block.1.conv1.weight, alone, or with a prefix among those of a whole
            Stable Diffusion; its attention is of 1x1 convolutions
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeAlias

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

__all__ = ["load_kl_weights", "weights_come_later"]

_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_PREFIXES = ("first_stage_model.", "vae.")
_OURS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

# What LDM calls the layers, by what diffusers does. The levels of its decoder count from the image.
_NAMES = (
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
)
# Of attention: LDM's names, and those of diffusers until 2023.
_ATTENTION = (
    (r"(attentions\.0)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.0)\.(?:q|query)\.", r"\1.to_q."),
    (r"(attentions\.0)\.(?:k|key)\.", r"\1.to_k."),
    (r"(attentions\.0)\.(?:v|value)\.", r"\1.to_v."),
    (r"(attentions\.0)\.(?:proj_out|proj_attn)\.", r"\1.to_out.0."),
)

Shapes: TypeAlias = Mapping[str, Sequence[int]]


_come_later: ContextVar[bool] = ContextVar("weights_come_later", default=False)


@contextmanager
def weights_come_later() -> Iterator[None]:
    """Leaves files of weights alone: all weights of what is built inside will be replaced.

    So a run folder is opened by its own weights, when the file that it began with is gone, too.
    """
    token = _come_later.set(True)
    try:
        yield
    finally:
        _come_later.reset(token)


def load_kl_weights(path: str | os.PathLike[str], parts: Sequence[nn.Module]) -> None:
    """Puts the weights of a file into encoder and decoder.

    Args:
        path: A safetensors file; or a folder that has `diffusion_pytorch_model.safetensors`, or a
            folder vae with it, as diffusers saves one.
        parts: Modules whose parameters together have the names of diffusers' `AutoencoderKL`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a pickle, damaged, of something else, or of another size.
    """
    if _come_later.get():
        return
    file = _file(Path(path))
    weights = _read(file)
    own = {name: tuple(t.shape) for part in parts for name, t in part.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    if found != own:
        raise ValueError(
            f"the weights in {file} are of {_size(found)}, but this autoencoder is of "
            f"{_size(own)}{_first_difference(found, own)}; give it the arguments of the weights"
        )
    for part in parts:
        part.load_state_dict({name: weights[name] for name in part.state_dict()})


def _file(path: Path) -> Path:
    """The file of weights that a path leads to."""
    if path.is_dir():
        places = [folder / name for folder in (path, path / "vae") for name in _FILES]
        for place in places:
            if place.is_file():
                return place
        pickles = sorted(p for p in path.glob("**/*") if p.suffix in _PICKLES)
        found = f"the pickle {pickles[0]}" if pickles else "no weights"
        raise FileNotFoundError(
            f"{path} has {found}, but expected {_FILES[0]}, there or in its folder vae; "
            "save the weights as safetensors"
        )
    if path.suffix in _PICKLES:
        raise ValueError(
            f"{path} is a pickle ({path.suffix}), which may run code when it is read, but expected "
            "a .safetensors file; save the weights as one"
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path} of weights")
    return path


def _read(file: Path) -> dict[str, Tensor]:
    """The weights of encoder and decoder in a file, by their names in diffusers."""
    try:
        with safe_open(file, framework="pt") as content:
            names = list(content.keys())
            prefix = next((p for p in _PREFIXES if any(n.startswith(p) for n in names)), "")
            ours = [n for n in names if n.startswith(tuple(prefix + own for own in _OURS))]
            named = _renamed([n.removeprefix(prefix) for n in ours])
            weights = {named[n.removeprefix(prefix)]: content.get_tensor(n) for n in ours}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is no safetensors file ({error}), but expected one; fetch or save it again"
        ) from error
    if "encoder.conv_in.weight" not in weights or "decoder.conv_in.weight" not in weights:
        first = ", ".join(names[:3])
        raise ValueError(
            f"{file} has {len(names)} tensors ({first}, ...), but not encoder.conv_in.weight and "
            "decoder.conv_in.weight, as an AutoencoderKL has; give the file of one"
        )
    return {n: w.flatten(1) if _is_attention(n) and w.dim() == 4 else w for n, w in weights.items()}


def _renamed(names: Sequence[str]) -> dict[str, str]:
    """The names in diffusers of weights of either layout."""
    ups = {int(match[1]) for n in names if (match := re.match(r"decoder\.up\.(\d+)\.", n))}
    top = max(ups, default=0)
    renamed = {}
    for name in names:
        new = re.sub(
            r"^decoder\.up\.(\d+)\.", lambda match: f"decoder.up.{top - int(match[1])}.", name
        )
        for pattern, replacement in (*_NAMES, *_ATTENTION):
            new = re.sub(pattern, replacement, new)
        renamed[name] = new
    return renamed


def _is_attention(name: str) -> bool:
    return ".attentions." in name and name.endswith(".weight")


def _size(shapes: Shapes) -> str:
    """What weights say of the arguments of their autoencoder, in words."""
    blocks = [
        re.match(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight", n) for n in shapes
    ]
    places = sorted((int(match[1]), int(match[2])) for match in blocks if match)
    channels = tuple(
        shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0]
        for level in sorted({level for level, _ in places})
    )
    image, latent = (shapes[f"{part}.conv_in.weight"][1] for part in ("encoder", "decoder"))
    quant = "with" if "quant_conv.weight" in shapes else "without"
    return (
        f"images of {image} channels, {latent} latent channels, channels={channels}, "
        f"blocks={1 + max(block for _, block in places)}, {quant} quant_conv"
    )


def _first_difference(found: Shapes, own: Shapes) -> str:
    """The first tensor that differs, where the words above do not tell."""
    if _size(found) != _size(own):
        return ""
    name = next(n for n in sorted({*found, *own}) if found.get(n) != own.get(n))
    return f", and differ in {name}: {found.get(name)} there, {own.get(name)} here"
