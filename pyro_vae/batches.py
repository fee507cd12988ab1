"""Data in batches of arguments for model and guide, put where the program is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .arguments import names_in_order, order_of_arguments
from .datasets import DataSource, Split, Tensors
from .program import Program, modules_of

__all__ = [
    "Batches",
    "Data",
    "arguments_of_each",
    "batch_of",
    "check_data",
    "check_tensors",
    "first",
    "kind_of",
    "near",
    "num_data",
    "rows_of",
]

Data = Tensor | Split | DataSource


@dataclass(frozen=True)
class Batches:
    """Data that are passed over again and again in batches, put where the program is.

    Args:
        data: A `DataSource`, or batches as the user gives them.
        batch_size: Data in a batch of a `DataSource`.
        names: Those of a `DataSource` that the program takes, in its order.
        join_last: Whether a last batch of one datum is joined to the batch before it.
        device: Where the program's tensors are; None leaves the data where they are.
        dtype: What floating data become; None leaves them as they are.
        rows: Where each datum stands in a pass in order, if not in its own place, (N,).
    """

    data: DataSource | Iterable[Any]
    batch_size: int
    names: tuple[str, ...] = ()
    join_last: bool = False
    device: torch.device | None = None
    dtype: torch.dtype | None = None
    rows: Tensor | None = None

    @classmethod
    def of(
        cls,
        program: Program,
        data: Data | Iterable[Any],
        y: Tensor | None = None,
        *,
        batch_size: int,
        join_last: bool = False,
        by_length: bool = False,
    ) -> "Batches":
        """Data for a program.

        Floating data become of the type of the program's parameters, if these have one.

        Args:
            program: The program that takes them.
            data: A tensor, a `Split`, a `DataSource`, or batches: tensors or tuples of arguments.
            y: Labels of a tensor; a program that takes none is then refused.
            batch_size: Data in a batch where they are not in batches already.
            join_last: Whether a last batch of one datum is joined to the batch before it.
            by_length: Whether a pass in order takes the shortest of ragged data first, which has
                less to compute; see `in_order`.

        Raises:
            ValueError: If the program does not take such data; see `pyro_vae.arguments`.
        """
        tops = modules_of(program.model, program.guide).values()
        tensors = [t for top in tops for t in (*top.parameters(), *top.buffers())]
        dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        names: tuple[str, ...] = ()
        rows = None
        if by_length and isinstance(data, Split) and data.ragged:
            data, rows = data.by_length()
        if isinstance(data, Tensor):
            order = order_of_arguments(program, labels=y is not None)
            data, names = Split(data, y).source(), tuple("xy"[i] for i in order)
        elif isinstance(data, Split | DataSource):
            names = names_in_order(program, data.shapes)
            data = data.source(labels="y" in names) if isinstance(data, Split) else data
        return cls(
            data,
            batch_size,
            names=names,
            join_last=join_last,
            device=tensors[0].device if tensors else None,
            dtype=dtypes.pop() if len(dtypes) == 1 else None,
            rows=rows,
        )

    def num_batches(self) -> int:
        """The number of batches in one pass."""
        if not isinstance(self.data, Sized):
            raise TypeError("data that do not know their length need steps, not epochs")
        if not len(self.data):
            raise ValueError("the data are empty")
        if isinstance(self.data, DataSource):
            return self.data.num_batches(self.batch_size) - self._joins(self.data)
        return len(self.data)

    def once(self, seed: int | None = None) -> Iterator[list[Any]]:
        """One pass over the data; a `DataSource` is shuffled by the seed, if there is one."""
        if not isinstance(self.data, DataSource):
            return map(self._put, map(_arguments, self.data))
        named = self.data.batches(self.batch_size, seed=seed)
        batches: Iterator[Sequence[Tensor]] = map(self._in_order, named)
        if self._joins(self.data):
            batches = _with_last_two_joined(batches, self.data.num_batches(self.batch_size))
        return map(self._put, batches)

    def in_order(self, values: Tensor) -> Tensor:
        """Values (..., N) of a pass in order, brought into the order of the data."""
        return values if self.rows is None else values[..., self.rows.to(values.device)]

    def first(self) -> list[Any]:
        """The first batch, of a pass that takes no random numbers from those to come."""
        with torch.random.fork_rng():
            return next(self.once())

    def few(self, in_all: int) -> list[Any]:
        """The first ten data, to look at what the program does with any.

        The whole batch where it is all data: the program may be one of just so many.
        """
        return rows_of(self.first(), slice(10 if in_all > self.batch_size else None))

    def _in_order(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """The data of a batch in the order in which the program takes them."""
        lacking = [name for name in self.names if not isinstance(batch.get(name), Tensor)]
        if lacking:
            raise TypeError(
                f"the data source gave a batch of {sorted(batch)}, but by its shapes it has a "
                f"tensor {lacking[0]!r} in each"
            )
        return [batch[name] for name in self.names]

    def _joins(self, data: DataSource) -> bool:
        possible = self.join_last and data.is_plain and 1 < self.batch_size < len(data)
        return possible and len(data) % self.batch_size == 1

    def _put(self, batch: Sequence[Any]) -> list[Any]:
        return [self._put_part(part) if isinstance(part, Tensor) else part for part in batch]

    def _put_part(self, part: Tensor) -> Tensor:
        dtype = self.dtype if part.is_floating_point() else None
        # Detached: data that ask for a gradient would be trained as parameters are.
        return part.detach().to(device=self.device, dtype=dtype)


def batch_of(
    program: Program, data: Data, y: Tensor | None = None, *, size: int | None = None
) -> dict[str, Tensor]:
    """One batch of data for a program, by name, in its order, put where it is.

    Args:
        program: The program.
        data: A tensor, a `Split` or a `DataSource`.
        y: Labels of a tensor.
        size: How many data; by default all of a tensor or `Split`, and 128 of a `DataSource`.

    Raises:
        TypeError: As `check_data`.
        ValueError: As `check_data`, or if the program does not take such data.
    """
    check_data(data, y)
    whole = 128 if isinstance(data, DataSource) else len(data)
    batches = Batches.of(program, data, y, batch_size=whole if size is None else size)
    return dict(zip(batches.names, next(batches.once()), strict=True))


def num_data(batch: Sequence[Any]) -> int:
    """How many data a batch holds: the length of its first tensor."""
    return next(len(part) for part in batch if isinstance(part, Tensor) and part.dim())


def rows_of(batch: Sequence[Any], rows: slice) -> list[Any]:
    """Some of the data of a batch."""
    return [part[rows] if isinstance(part, Tensor) and part.dim() else part for part in batch]


def first(data: Data, number: int) -> Split | Tensors:
    """The first so many data, in memory: a `Split`, unless there are others beside x and y."""
    if isinstance(data, Tensor):
        return Split(data[:number])
    if isinstance(data, Split):
        return replace(data, x=data.x[:number], y=None if data.y is None else data.y[:number])
    batch = next(data.batches(number))
    plain = "x" in batch and {*batch} <= {"x", "y"}
    return Split(batch["x"], batch.get("y")) if plain else Tensors(**batch)


def check_data(x: Any, y: Any = None) -> None:
    """Refuses what is no tensor (N, *x_shape) with a label each or none, Split or DataSource.

    Raises:
        TypeError: If it is of another type.
        ValueError: If there are no data, or labels that do not belong to them.
    """
    if isinstance(x, Split | DataSource):
        if y is not None:
            raise ValueError("the labels y belong to data in a tensor; give tensors x and y")
        if not len(x):
            raise ValueError("there are no data: their number is 0")
    else:
        check_tensors(x, y)


def check_tensors(x: Any, y: Any = None) -> None:
    """Refuses what is no tensor (N, *x_shape) with a label each, or none.

    Raises:
        TypeError: If it is of another type.
        ValueError: If there are no data, or not as many labels.
    """
    for name, value in {"x": x, "y": y}.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"data and labels are tensors, but {name} is of type {type(value).__name__}; give "
                f"torch.as_tensor({name})"
            )
    if not x.dim() or not len(x):
        raise ValueError(f"there are no data: x has shape {tuple(x.shape)}, and not (N, *x_shape)")
    if y is not None and (not y.dim() or len(y) != len(x)):
        raise ValueError(f"there are {len(x)} data, but labels of shape {tuple(y.shape)}")


def near(data: Split | DataSource, device: torch.device) -> Split | DataSource:
    """Data on a device, if they take no more than a quarter of its free memory.

    There a batch is picked without a copy from host to device. Others stay where they are, and go
    to the device a batch at a time. On the CPU nothing is copied.
    """
    if isinstance(data, DataSource) or device.type != "cuda":
        return data
    size = sum(part.nbytes for part in (data.x, data.y) if part is not None)
    free, _ = torch.cuda.mem_get_info(device)
    return data.to(device) if size <= free / 4 else data


def kind_of(value: Any) -> str:
    """What a value is, for a sentence that refuses it."""
    if isinstance(value, np.ndarray):
        return "a numpy array (torch.as_tensor makes a tensor of it)"
    return f"of type {type(value).__name__}"


def arguments_of_each(batches: Any) -> list[Sequence[Any]]:
    """The positional arguments of model and guide in each of some batches.

    Raises:
        TypeError: If they are no batches: tensors, or tuples of arguments.
    """
    if not isinstance(batches, Iterable) or (isinstance(batches, Tensor) and not batches.dim()):
        shown = "a single number" if isinstance(batches, Tensor) else kind_of(batches)
        raise TypeError(f"the batches are {shown}, but must be a list of them, one for each step")
    every = list(batches)
    for batch in every:
        if not isinstance(batch, Tensor | tuple | list):
            raise TypeError(
                f"a batch is {kind_of(batch)}, but must be a tensor or a tuple of the arguments of "
                "model and guide"
            )
    return [(batch,) if isinstance(batch, Tensor) else batch for batch in every]


def _arguments(batch: Any) -> Sequence[Any]:
    """The arguments of model and guide in a batch as a user gives it: one tensor, or several."""
    parts = batch if isinstance(batch, tuple | list) and len(batch) else [batch]
    tensors = [part for part in parts if isinstance(part, Tensor)]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if arrays or not tensors:
        raise TypeError(
            f"a batch is {kind_of(arrays[0] if arrays else batch)}, but must be a tensor "
            "(N, *x_shape) or a tuple of the arguments of model and guide"
        )
    if not any(tensor.dim() for tensor in tensors):
        raise ValueError(
            f"a batch is a single number, {tensors[0].item()}, where a tensor (N, *x_shape) of N "
            "data is needed; give x[None] for a single datum, or batches of a DataLoader"
        )
    if any(tensor.dim() and not len(tensor) for tensor in tensors):
        raise ValueError("a batch holds no data; leave empty batches out")
    return parts


def _with_last_two_joined(batches: Iterator[Sequence[Any]], number: int) -> Iterator[Sequence[Any]]:
    """The same batches, but the last two as one.

    None is taken before its turn, as taking one may draw random numbers.
    """
    for _ in range(number - 2):
        yield next(batches)
    yield [_joined(parts) for parts in zip(*batches, strict=True)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts of batches as one; sequences of tokens get the width of the widest."""
    width = max(part.shape[1] for part in parts) if parts[0].dim() == 2 else 0
    return torch.cat([pad(p, (0, width - p.shape[1]), value=-1) if width else p for p in parts])
