"""What a pre-flight found: the sites of a program, its loss, and what it trains."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Report", "Site"]


@dataclass(frozen=True)
class Site:
    """A sample site as model and guide have it.

    Args:
        name: Its name.
        observed: Whether it is data.
        model: Its distribution in the model.
        guide: Its distribution in the guide, "" where it is data.
        batch_shape: Of its distribution in the model.
        event_shape: Likewise.
        plates: The plates that it stands in, innermost last.
        reparameterized: Whether the guide's draws carry gradients; None for data.
    """

    name: str
    observed: bool
    model: str
    guide: str
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    plates: tuple[str, ...]
    reparameterized: bool | None


@dataclass(frozen=True)
class Report:
    """What a pre-flight found.

    Args:
        sites: The sites that model and guide sample or observe, in the model's order.
        loss: Per datum.
        parameters: What it trains, by name.
        factors: The names of the factors that the model adds to its density.
        training_factors: The names of those that are no part of a density; see
            `pyro_vae.training_factor`.
    """

    sites: list[Site]
    loss: float
    parameters: dict[str, Tensor]
    factors: tuple[str, ...] = ()
    training_factors: tuple[str, ...] = ()

    HEADER = ("site", "role", "model", "guide", "batch", "event", "plates", "rsample")

    def rows(self) -> list[tuple[str, ...]]:
        """The sites as rows of text under `HEADER`."""
        return [
            (
                site.name,
                "observed" if site.observed else "latent",
                site.model,
                site.guide or "-",
                str(site.batch_shape),
                str(site.event_shape),
                ", ".join(site.plates) or "-",
                {True: "yes", False: "no", None: "-"}[site.reparameterized],
            )
            for site in self.sites
        ]

    def __str__(self) -> str:
        table = [self.HEADER, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
        return "\n".join(line.rstrip() for line in [*lines, self.summary()])

    def summary(self) -> str:
        """The loss, the number of parameters, and the factors of both kinds, if there are some."""
        count = sum(parameter.numel() for parameter in self.parameters.values())
        kinds = {"factors": self.factors, "training factors": self.training_factors}
        said = [f", {kind} {', '.join(map(repr, names))}" for kind, names in kinds.items() if names]
        return f"loss {self.loss:.2f} nats per datum, {count:,} parameters{''.join(said)}"
