"""Plate diagrams: circles for random variables, shaded where observed, in boxes that repeat."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle

from .style import COLORS, MATH, formula_width

__all__ = ["Node", "PlateDiagram"]

Arrow = tuple[str, str]  # from a node to another
Place = tuple[float, float]  # inches, to the right and up
Plates = tuple[str, ...]

_RADIUS = 0.27  # inches
_STEP = 1.0  # inches between neighbours along the way of the arrows
_SIDE = 0.95  # inches between neighbours across it
_LONG = 6  # layers, above which a chain runs to the right, in rows
_ROW = 9  # nodes of a long chain in one row
_DENSE = 2  # arrows a node, above which those that others imply are left out
_GUIDE = COLORS[1]


@dataclass(frozen=True)
class Node:
    """A random variable, a factor, or something that is given.

    Args:
        label: What stands in the circle, a formula with dollar signs.
        kind: "latent", "observed", "factor" or "given".
        plates: Those that it stands in, the outermost first.
    """

    label: str
    kind: str
    plates: Plates = ()


class PlateDiagram:
    """A plate diagram whose nodes have places, in inches from its lower left corner.

    Args:
        nodes: By name, in the order of sampling.
        arrows: Of the model, drawn solid.
        dashed: Of the guide.
        plates: The text in the corner of each plate, by name.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        arrows: Sequence[Arrow],
        dashed: Sequence[Arrow],
        plates: Mapping[str, str],
    ) -> None:
        self.nodes, self.labels = nodes, plates
        self.arrows, self.dashed = _thinned(nodes, arrows), _thinned(nodes, dashed)
        self.thinned = len(self.arrows) + len(self.dashed) < len(arrows) + len(dashed)
        places = _places(nodes, arrows)
        self._bends = {
            (start, end, dashed): self._bend(places, start, end, dashed=dashed)
            for dashed, group in ((False, self.arrows), (True, self.dashed))
            for start, end in group
        }
        boxes = {name: self._box(name, places) for name in plates if self._inside(name)}
        left = min([b[0] for b in boxes.values()] + [x - 0.5 for x, _ in places.values()])
        bottom = min([b[1] for b in boxes.values()] + [y - 0.5 for _, y in places.values()])
        right = max([b[2] for b in boxes.values()] + [x + 0.5 for x, _ in places.values()])
        top = max([b[3] for b in boxes.values()] + [y + 0.5 for _, y in places.values()])
        self.places = {name: (x - left, y - bottom) for name, (x, y) in places.items()}
        self.boxes = {
            name: (x0 - left, y0 - bottom, x1 - left, y1 - bottom)
            for name, (x0, y0, x1, y1) in boxes.items()
        }
        self.width, self.height = right - left, top - bottom

    def draw(self, ax: Axes, x: float, y: float) -> None:
        """Draws it with its lower left corner at a place of axes whose unit is an inch."""
        for name, (x0, y0, x1, y1) in self.boxes.items():
            box = FancyBboxPatch(
                (x + x0, y + y0), x1 - x0, y1 - y0, boxstyle="round,pad=0,rounding_size=0.12"
            )
            box.set(facecolor="none", edgecolor="0.45", linewidth=1.1)
            ax.add_artist(box)
            ax.text(x + x1 - 0.1, y + y0 + 0.08, self.labels[name], ha="right", fontsize=8)
        shift = {name: (x + a, y + b) for name, (a, b) in self.places.items()}
        shapes = {name: _draw_node(ax, node, shift[name]) for name, node in self.nodes.items()}
        for (start, end, dashed), bend in self._bends.items():
            ends = (shapes[start], shapes[end])
            _draw_arrow(ax, (shift[start], shift[end]), ends, bend, dashed=dashed)

    def _inside(self, plate: str) -> list[str]:
        return [name for name, node in self.nodes.items() if plate in node.plates]

    def _box(self, plate: str, places: Mapping[str, Place]) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of a plate, with room for the boxes that stand in it."""
        inside = self._inside(plate)
        below = {p for name in inside for p in self.nodes[name].plates if self._within(p, plate)}
        room = 0.16 + 0.13 * len(below)
        sides = [(x - s, x + s) for x, s in ((places[n][0], self._half(n)) for n in inside)]
        bulges = [
            _middle(places[start], places[end], bend)
            for (start, end, _), bend in self._bends.items()
            if start in inside and end in inside and bend
        ]
        xs = [*(x for pair in sides for x in pair), *(x for x, _ in bulges)]
        ys = [*(places[n][1] + s for n in inside for s in (-_RADIUS, _RADIUS))]
        ys += [y for _, y in bulges]
        left, right = min(xs) - room, max(xs) + room
        wide = formula_width(self.labels[plate], 8) + 0.25
        return left, min(ys) - room - 0.18, max(right, left + wide), max(ys) + room

    def _half(self, name: str) -> float:
        """Half the width of a node."""
        return _half_width(self.nodes[name])

    def _within(self, plate: str, other: str) -> bool:
        return plate != other and {*self._inside(plate)} < {*self._inside(other)}

    def _bend(self, places: Mapping[str, Place], start: str, end: str, *, dashed: bool) -> float:
        """How far an arrow is bent, as a share of its length: to the right, or below a row."""
        (x0, y0), (x1, y1) = places[start], places[end]
        distance = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        taken = (start, end) in self.arrows or (end, start) in self.arrows
        bend = 0.0
        if self._passes(places, start, end):
            bend = min(0.6, 0.95 / distance + 0.12 * dashed)
        elif dashed and taken:
            bend = min(0.45, 0.4 / distance)
        return bend if (y1, x1) > (y0, x0) else -bend

    def _passes(self, places: Mapping[str, Place], start: str, end: str) -> bool:
        """Whether a straight arrow would run over another node."""
        (x0, y0), (x1, y1) = places[start], places[end]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        for name, (x, y) in places.items():
            if name in (start, end) or not length:
                continue
            along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length
            beside = abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length
            if 0 < along < length and beside < _RADIUS * 1.15:
                return True
        return False


def _middle(start: Place, end: Place, bend: float) -> Place:
    """The middle of an arrow that is bent."""
    (x0, y0), (x1, y1) = start, end
    return (x0 + x1 + bend * (y1 - y0)) / 2, (y0 + y1 - bend * (x1 - x0)) / 2


def _half_width(node: Node) -> float:
    if node.kind in ("given", "factor"):
        return _RADIUS
    return max(_RADIUS, formula_width(node.label, 12) / 2 + 0.12)


def _draw_arrow(
    ax: Axes, ends: tuple[Place, Place], shapes: tuple[Patch, Patch], bend: float, *, dashed: bool
) -> None:
    ax.add_artist(
        FancyArrowPatch(
            *ends,
            connectionstyle=f"arc3,rad={bend}",
            patchA=shapes[0],
            patchB=shapes[1],
            arrowstyle="-|>,head_length=4,head_width=2",
            shrinkA=0.5,
            shrinkB=0.5,
            linestyle=(0, (4, 2.5)) if dashed else "-",
            color=_GUIDE if dashed else "0.15",
            linewidth=1.1,
            zorder=1,
        )
    )


def _draw_node(ax: Axes, node: Node, place: Place) -> Patch:
    """Draws a circle, which is wider where its name is long, a square or a dot."""
    x, y = place
    half = _half_width(node)
    high = {"given": 0.05, "factor": 0.62 * _RADIUS}.get(node.kind, _RADIUS)
    shape: Patch = Ellipse(place, 2 * (half if high == _RADIUS else high), 2 * high)
    if node.kind == "factor":
        shape = Rectangle((x - high, y - high), 2 * high, 2 * high)
    color = {"observed": "#d9d9d9", "latent": "white"}.get(node.kind, "0.15")
    shape.set(facecolor=color, edgecolor="0.15", linewidth=1.3, zorder=2)
    ax.add_artist(shape)
    size = 15 if half == _RADIUS else 12
    offset = {"given": (0.0, 0.22), "factor": (0.3, 0.0)}.get(node.kind, (0.0, 0.0))
    across = "left" if node.kind == "factor" else "center"
    label = ax.text(x + offset[0], y + offset[1], node.label, ha=across, va="center", zorder=3)
    label.set(fontsize=size, math_fontfamily=MATH)
    return shape


def _depths(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> dict[str, int]:
    """The longest way to each node; one that is given stands above the first that needs it."""
    parents: dict[str, list[str]] = {name: [] for name in nodes}
    for start, end in arrows:
        if start in parents and end in parents:
            parents[end].append(start)
    depths: dict[str, int] = {}
    waiting = list(nodes)
    while waiting:
        ready = [n for n in waiting if all(p in depths for p in parents[n])] or waiting[:1]
        for name in ready:
            depths[name] = max((depths.get(p, -1) + 1 for p in parents[name]), default=0)
        waiting = [name for name in waiting if name not in depths]
    for name in nodes:
        children = [depths[end] for start, end in arrows if start == name]
        if children and not parents[name]:
            depths[name] = max(min(children) - 1, 0)
    return depths


def _places(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> dict[str, Place]:
    depths = _depths(nodes, arrows)
    if max(depths.values()) >= _LONG:
        return _in_rows(nodes, arrows, depths)
    blocks = _blocks(nodes)
    places: dict[str, Place] = {}
    left = 0.0
    for block in blocks:
        names = [name for name, node in nodes.items() if node.plates == block]
        layers = [[n for n in names if depths[n] == d] for d in sorted({depths[n] for n in names})]
        widest = max(map(len, layers))
        step = _SIDE + 2 * (max(_half_width(nodes[name]) for name in names) - _RADIUS)
        for layer in layers:
            for i, name in enumerate(layer):
                x = left + (i + (widest - len(layer)) / 2) * step
                places[name] = (x, -depths[name] * _STEP)
        left += widest * step + 0.25
    return places


def _in_rows(
    nodes: Mapping[str, Node], arrows: Sequence[Arrow], depths: Mapping[str, int]
) -> dict[str, Place]:
    """A long chain from left to right, in rows, and what is observed below all of it."""
    chain = sorted((n for n, node in nodes.items() if node.kind != "observed"), key=depths.get)  # type: ignore[arg-type]
    below = [name for name, node in nodes.items() if node.kind == "observed"]
    columns = min(len(chain), _ROW)
    places = {name: (i % columns * _SIDE, -(i // columns) * _STEP) for i, name in enumerate(chain)}
    bottom = -((len(chain) - 1) // columns) * _STEP - 1.3 * _STEP
    above = [places[start][0] for start, end in arrows if end in below and start in places]
    middle = sum(above) / len(above) if above else (columns - 1) * _SIDE / 2
    start = middle - (len(below) - 1) / 2 * _SIDE
    return places | {name: (start + i * _SIDE, bottom) for i, name in enumerate(below)}


def _blocks(nodes: Mapping[str, Node]) -> list[Plates]:
    """The sets of plates that nodes stand in, in an order in which each plate is one piece."""
    found = list(dict.fromkeys(node.plates for node in nodes.values()))
    found.sort(key=len)
    if len(found) > 6:
        return found
    return list(min(itertools.permutations(found), key=_pieces))


def _pieces(order: Iterable[Plates]) -> int:
    """How many pieces the plates of blocks in such an order fall into."""
    blocks = [*order]
    plates = {plate for block in blocks for plate in block}
    return sum(
        1
        for plate in plates
        for before, block in itertools.pairwise([(), *blocks])
        if plate in block and plate not in before
    )


def _thinned(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> list[Arrow]:
    """Without those that go a longer way as well, where there are too many to see."""
    if len(arrows) <= _DENSE * len(nodes):
        return list(arrows)
    children: dict[str, set[str]] = {}
    for start, end in arrows:
        children.setdefault(start, set()).add(end)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(children.get(start, ()))
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += children.get(name, ())
        return seen

    further = {name: reachable(name) for name in nodes}
    return [
        (start, end)
        for start, end in arrows
        if not any(end in further[other] for other in children[start] - {end})
    ]
