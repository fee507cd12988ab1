"""New labelled data from a trained program, to train something else on."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pyro_vae.arguments import takes_labels
from pyro_vae.checks import check_sizes
from pyro_vae.datasets import Split
from pyro_vae.inference.evaluation import decode, discrete_latents, encode, sample
from pyro_vae.program import Program, device_of

__all__ = ["augment"]

_ROWS = 500  # of data at a time


def augment(
    program: Program | Mapping[int, Program],
    data: Split,
    num_samples: int,
    *,
    kind: str = "near",
    mean: bool = True,
) -> Split:
    """Makes new data, as many of each class that the given ones have, with their labels.

    Args:
        program: A program `model(x, y)`, such as `ConditionalVAE`; or programs by class, each of
            which knows that class alone. A program `model(x)` of all classes is one for data near
            others, whose labels they take.
        data: Data with classes for labels; those without a label are left out.
        num_samples: N. Where the classes do not share it out equally, the first have one more.
        kind: How they are made:

            - `"near"`: z ~ q(z | x, y) of a datum drawn at random, decoded;
            - `"prior"`: z ~ p(z | y), decoded;
            - `"between"`: a point on the line between the latents of two data of one class.
        mean: False draws x ~ p(x | z) instead of taking its mean.

    Returns:
        The new data with their labels, class after class, on the CPU.

    Raises:
        ValueError: If there is no such kind, if the data have no classes, if a class has no
            program or a program of all classes cannot tell which it draws, or if latents are
            discrete, between which nothing lies.

    Example:
        >>> data = Split(torch.zeros(6, 1, 8, 8), torch.arange(6) % 3)
        >>> augment(ConditionalVAE((1, 8, 8), 2, num_classes=3), data, 4).y
        tensor([0, 0, 1, 2])
    """
    check_sizes(num_samples=num_samples)
    if kind not in _WAYS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _WAYS))}, but is {kind!r}")
    made, labels = [], []
    classes = _classes(data)
    for number, label in enumerate(classes):
        count = len(range(num_samples)[number :: len(classes)])
        if not count:
            continue
        one = _program_of(program, label)
        if kind == "prior" and not isinstance(program, Mapping) and not takes_labels(one):
            raise ValueError(
                "the program is model(x), so its prior does not know the label of what it draws; "
                "give a program model(x, y), programs by class, or kind='near'"
            )
        x = data.x[data.y == label].to(device_of(one))
        made += [
            _WAYS[kind](one, _drawn(data, x), label, len(part), mean).cpu()
            for part in torch.arange(count).split(_ROWS)
        ]
        labels += [label] * count
    return Split(torch.cat(made), torch.tensor(labels))


def _near(program: Program, x: Tensor, label: int, count: int, mean: bool) -> Tensor:
    x, y = _some(x, count), _labels(program, label, count)
    z = encode(program, x, y, mean=False)
    return decode(program, z, count, x.shape[1:], y=y, mean=mean, dtype=x.dtype)


def _of_prior(program: Program, x: Tensor, label: int, count: int, mean: bool) -> Tensor:
    y = _labels(program, label, count)
    return sample(program, count, x.shape[1:], y=y, mean=mean, dtype=x.dtype)


def _between(program: Program, x: Tensor, label: int, count: int, mean: bool) -> Tensor:
    y = _labels(program, label, count)
    ends = [_some(x, count), _some(x, count)]
    if discrete := discrete_latents(program, ends[0], y):
        raise ValueError(
            f"latents {discrete} are discrete, so nothing lies between two of them; take "
            "kind='near'"
        )
    first, second = (encode(program, end, y) for end in ends)
    weight = torch.rand(count, device=x.device)
    z = {
        name: torch.lerp(first[name], second[name], weight.view(-1, *[1] * (start.dim() - 1)))
        for name, start in first.items()
    }
    return decode(program, z, count, x.shape[1:], y=y, mean=mean, dtype=x.dtype)


_WAYS: Mapping[str, Callable[[Program, Tensor, int, int, bool], Tensor]] = {
    "near": _near,
    "prior": _of_prior,
    "between": _between,
}


def _classes(data: Split) -> list[int]:
    if data.y is None or data.y.is_floating_point():
        found = "no labels" if data.y is None else "conditions for labels"
        raise ValueError(
            f"augment makes data of the classes of others, but these have {found}; give a Split "
            "of x and of classes y"
        )
    found = data.y[data.y >= 0].unique().tolist()
    if not found:
        raise ValueError("none of the data has a label, and augment makes data of their classes")
    return found


def _program_of(program: Program | Mapping[int, Program], label: int) -> Program:
    if not isinstance(program, Mapping):
        return program
    if label not in program:
        raise ValueError(
            f"there is no program of class {label}, but of {', '.join(map(str, program))}; give "
            "one for each class of the data, or data of these classes alone"
        )
    return program[label]


def _labels(program: Program, label: int, count: int) -> Tensor | None:
    if not takes_labels(program):
        return None
    return torch.full((count,), label, device=device_of(program))


def _some(x: Tensor, count: int) -> Tensor:
    """So many of the data, drawn with replacement."""
    return x[torch.randint(len(x), (count,)).to(x.device)]


def _drawn(data: Split, x: Tensor) -> Tensor:
    return x if data.draw is None else data.draw(x)
