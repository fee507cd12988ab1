"""Numbers as a page holds them: bytes in base64, as whole levels where they are such."""

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["stored"]


def stored(values: Tensor) -> dict[str, Any]:
    """Numbers as bytes k for low + step * k, where that is exact, else as float32.

    Data are mostly black and white, grey levels, or whole numbers up to 255, of which a byte each
    is enough.
    """
    found = values.detach().cpu().float().flatten()
    for step in (1.0, 1 / 255):
        low = float(found.min()) if len(found) else 0.0
        places = (found - low) / step
        whole = places.round()
        if 0 <= low <= 255 and whole.max() <= 255 and bool(((places - whole).abs() < 1e-3).all()):
            return _packed("u8", whole.to(torch.uint8).numpy()) | {"low": low, "step": step}
    return _packed("f32", found.numpy().astype("<f4"))


def _packed(kind: str, values: "np.ndarray[Any, Any]") -> dict[str, Any]:
    return {"stored": kind, "base64": base64.b64encode(values.tobytes()).decode()}
