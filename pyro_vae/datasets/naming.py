"""Which array of a file is what: data or labels, of the whole or of a part, by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .assembly import Raw
from .reading import Array, Refusal

__all__ = ["LABELS", "Roles"]

_X = ("x", "data", "images", "image", "imgs", "inputs", "features")
LABELS = ("y", "label", "labels", "target", "targets")
_PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Roles:
    """Finds data and labels among named arrays, and puts them together by parts.

    Upper and lower case are one, and so are x_train, train_x, x-train and xtrain.

    Args:
        source: What names the file in the sentence of an error.
        x: The name of the data without that of a part; None takes x, data, images and the like.
        y: The name of the labels, likewise; None takes y, labels, targets and the like.
    """

    source: str
    x: str | None = None
    y: str | None = None

    def choose(self, names: Sequence[str]) -> list[str]:
        """The names of the arrays that are data or labels."""
        return list(self._roles(names).values())

    def parts(self, found: Mapping[str, Array]) -> dict[str, Raw]:
        """Data with their labels, of "train", "test" and perhaps "valid", or of "", the whole."""
        roles = self._roles(list(found))
        if (_PLACE, "0") in roles:
            return {"": self._by_place(*(found[name] for name in roles.values()))}
        x = {part: found[name] for (kind, part), name in roles.items() if kind == "x"}
        y = {part: found[name] for (kind, part), name in roles.items() if kind == "y"}
        return {part: Raw(x[part], y.get(part)) for part in ("", *_PARTS) if part in x}

    def _roles(self, names: Sequence[str]) -> dict[tuple[str, str], str]:
        meant, found = self._meant(), dict[tuple[str, str], str]()
        for name in names:
            role = meant.get(name.lower())
            if role in found:
                raise Refusal(
                    f"{self.source} holds {found[role]} and {name}, either of which could be the "
                    f"{'labels' if role[0] == 'y' else 'data'}; name one with {role[0]}=..."
                )
            if role is not None:
                found[role] = name
        if self.y is not None and not any(kind == "y" for kind, _ in found):
            raise Refusal(f"{self.source} has no labels {self.y!r}; it holds {_listed(names)}")
        if {("x", "train"), ("x", "test")} <= set(found):
            return {role: name for role, name in found.items() if role[1]}
        if ("x", "") in found:
            return {role: name for role, name in found.items() if not role[1]}
        others = [name for name in names if name not in found.values()]
        if self.x is None and len(others) == 1 and set(found) <= {("y", "")}:
            return {("x", ""): others[0], **found}
        if self.x is None and list(names) in (["0", "1"], ["arr_0", "arr_1"]):
            return {(_PLACE, str(i)): name for i, name in enumerate(names)}
        raise Refusal(
            f"{self.source} holds {_listed(names)}; expected one array, or x (with y), or x_train "
            "and x_test (with x_valid, y_train, y_valid, y_test), or train and test (with valid); "
            "give their names with x=... and y=..., or save them under these"
        )

    def _meant(self) -> dict[str, tuple[str, str]]:
        """What each name means, in lower case."""
        kinds = {
            "x": (self.x.lower(),) if self.x else _X,
            "y": (self.y.lower(),) if self.y else LABELS,
        }
        meant = {} if self.x else {n: ("x", part) for part, names in _PARTS.items() for n in names}
        for kind, bases in kinds.items():
            for base in bases:
                meant[base] = (kind, "")
                for part, names in _PARTS.items():
                    for name in names:
                        for joint in ("_", "-", ".", ""):
                            meant[f"{base}{joint}{name}"] = (kind, part)
                            meant[f"{name}{joint}{base}"] = (kind, part)
        return meant

    def _by_place(self, first: Array, second: Array) -> Raw:
        """Data and labels without names, told apart by their shapes."""
        for x, y in ((first, second), (second, first)):
            if x.ndim > 1 and y.shape in ((len(x),), (len(x), 1)):
                return Raw(x, y)
        raise Refusal(
            f"{self.source} holds arrays without names of shapes {first.shape} and {second.shape}, "
            "but expected data (items, ...) and a label for each, (items,); save them under the "
            "names x and y"
        )


_PLACE = "place"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return (", ".join(names[:10]) or "nothing") + more
