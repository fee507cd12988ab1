"""Tables on the terminal."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["print_results", "print_rows", "print_table"]


# What a number says of log p(x).
_SAYS = {
    "bound": "a lower bound",
    "rate": "a part of the bound",
    "distortion": "a part of the bound",
    "log_likelihood": "a lower bound, the tighter",
    "bits_per_dim": "the bound in other units",
    "objective": "nothing",
}


def print_results(results: Mapping[str, Any], folder: Path) -> None:
    """Prints the evaluation at the end of a training, and the pictures and texts beside it."""
    print_table(results, "test data")
    for path in sorted([*folder.glob("*.png"), *folder.glob("*.txt")]):
        print(path)


def print_table(results: Mapping[str, Any], title: str) -> None:
    """Prints each mean with its standard error, and what it says of log p(x).

    Below it, the rate and the active units of each latent.
    """
    rows = []
    for name in [name for name in results if f"{name}_error" in results]:
        mean, error, shown = results[name], results[f"{name}_error"], ".2f"
        says = _SAYS.get(name, "")
        if name in ("rate", "distortion") and "bound" not in results:
            says = "a part of the objective"
        if name == "accuracy":
            name, shown = "accuracy, of 1", ".4f"
        elif name == "bits_per_dim":
            name, shown = "bits per dimension", ".4f"
        elif name == "objective" and "rate" in results:  # of a point, or of what was trained
            says = "no bound"
        rows.append((name, f"{mean:{shown}}", _margin(error, shown), says))
    print_rows((title, "mean, in nats per datum", "standard error", "of log p(x)"), rows)
    _print_sites(results.get("sites", {}))
    if "perplexity" in results:
        nats, perplexity = results["nats_per_token"], results["perplexity"]
        print(f"{nats:.4f} nats a token, end marks included: perplexity {perplexity:.2f}")
    for name, usage in results.get("codes", {}).items():
        print(f"{name}: {usage}")


def _print_sites(sites: Mapping[str, Mapping[str, Any]]) -> None:
    """A row a latent; of one latent, whose rate is known already, a line. Then what it tells."""
    active = {n: f"{s['active']} of {s['units']}" for n, s in sites.items() if "active" in s}
    rows = []
    for name, site in sites.items():
        rate = f"{site['rate']:z.2f}" if "rate" in site else "-"
        margin = _margin(site.get("rate_error"), ".2f")
        rows.append((name, rate, margin, active.get(name, "-")))
    if len(sites) > 1:
        print_rows(("latent", "rate, in nats per datum", "standard error", "active units"), rows)
    for name, units in active.items() if len(sites) < 2 else ():
        print(f"{name}: {units} units active")
    for name, site in sites.items():
        if "mutual_information" in site:
            print(f"{name}: {_information(name, site)}")


def _information(name: str, site: Mapping[str, Any]) -> str:
    """What a latent tells of the data, and how far the guide's average is from the prior."""
    found, cap = site["mutual_information"], site["cap"]
    margin = _margin(site["mutual_information_error"], ".2f")
    said = f"mutual information {found:z.2f} {margin} of at most {cap:.2f} nats, the logarithm of "
    said += f"{round(math.exp(cap)):,} data"
    kl = site.get("marginal_kl")
    return said if kl is None else f"{said}; KL(q({name}) || p({name})) {kl:z.2f}"


def _margin(error: float | None, shown: str) -> str:
    try:
        "±".encode(sys.stdout.encoding or "ascii")
        sign = "±"
    except UnicodeEncodeError:
        sign = "+-"
    return "-" if error is None else f"{sign} {error:{shown}}"


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of text in columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))  # without markup: z[0] is a name
    console = Console()
    console.width = max(console.width, 100)  # a narrow pipe would cut the words
    console.print(table)
