"""Where a number that is not finite comes from."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

__all__ = ["explain_nonfinite"]


@torch.no_grad()
def explain_nonfinite(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    parameters: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> str:
    """One clause that names the first parameter or site with a value that is not finite."""
    for name, parameter in parameters.items():
        if not parameter.isfinite().all():
            return (
                f"the last update made parameter {name!r} non-finite; "
                "a lower learning rate or clip_norm helps"
            )
    with pyro.validation_enabled(False):
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(*args, **kwargs)
        for role, trace in (("guide", guide_trace), ("model", model_trace)):
            for site in trace.nodes.values():
                if site["type"] != "sample":
                    continue
                if not torch.as_tensor(site["value"]).isfinite().all():
                    kind = "datum" if site["is_observed"] else "draw"
                    return f"site {site['name']!r} of the {role} has a {kind} that is not finite"
                log_prob = site["fn"].log_prob(site["value"])
                if not torch.as_tensor(log_prob).isfinite().all():
                    return (
                        f"site {site['name']!r} of the {role} has a log density that is not finite"
                    )
    return "no site of a second run shows it, so it is rare; a lower learning rate may help"
