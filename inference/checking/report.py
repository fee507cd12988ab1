"""The report of a pre-flight: the sites of a program, its loss, and its parameters."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Report", "Site"]


@dataclass(frozen=True)
class Site:
    """A sample site of a model, with its site of the same name in the guide.

    Args:
        name: The name of both.
        observed: Whether the model observes it.
        model: The class of its distribution in the model.
        guide: The class of its distribution in the guide, "" if there is none.
        batch_shape: The batch shape of its distribution in the model.
        event_shape: The event shape of that.
        plates: The plates that it stands in, the innermost last.
        reparameterized: Whether the guide's draws carry a gradient; None if there are none.
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
    """The report of a pre-flight.

    Args:
        sites: The sample sites of the model, in its order.
        loss: The loss in nats per datum.
        parameters: The parameters that would be trained, by name.
        factors: The names of the factors that the model adds to its density.
        training_factors: The names of the training factors, which are no part of a density; see
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
