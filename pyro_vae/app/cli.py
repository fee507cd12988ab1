"""The command line: `pyro-vae VERB ...`. What one writes here is what one writes in Python."""

import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import TRACEBACK, printable, show_warning, stop
from .tables import print_rows, print_table

if TYPE_CHECKING:
    from pyro_vae.datasets import Dataset, Split
    from pyro_vae.program import ProgramModule

    from .run import Run

__all__ = ["app", "main"]

# torch is imported inside the commands, so that --help is quick.
app = typer.Typer(
    help="Variational autoencoders as Pyro programs: train them, judge them, look at them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Part(StrEnum):
    """The parts of a data set."""

    train = "train"
    valid = "valid"
    test = "test"


Program = Annotated[
    str, typer.Argument(help='"VAE(latent_dim=16)", my_vae.py or "my_vae.py:MyVAE(latent_dim=16)".')
]
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Data = Annotated[str, typer.Option(help="A data set, such as \"mnist(binarize='dynamic')\".")]
Loss = Annotated[str, typer.Option(help='An estimator, such as "Trace_ELBO(beta=4)".')]
DataDir = Annotated[str | None, typer.Option(help="Where data sets look for their files.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all random numbers.")]
Out = Annotated[Path | None, typer.Option(help="The PNG to write; by default in the run's folder.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Data in a step.")]
Split_ = Annotated[Part, typer.Option("--split", help="The part of the data.")]
OtherData = Annotated[
    str | None, typer.Option("--data", help="Another data set than the one trained on.")
]


@app.command()
def train(
    context: typer.Context,
    program: Annotated[
        str | None,
        typer.Argument(help='"VAE(latent_dim=16)", my_vae.py or "my_vae.py:MyVAE(latent_dim=16)".'),
    ] = None,
    data: Data = "digits",
    loss: Loss = "Trace_ELBO",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data.  [default: 20]")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of epochs.")] = None,
    batch_size: BatchSize = 128,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of Adam.  [default: 0.001]")
    ] = None,
    optim: Annotated[
        str | None, typer.Option(help="Another optimizer: \"ClippedAdam({'lr': 1e-3})\".")
    ] = None,
    lr_schedule: Annotated[
        str | None, typer.Option(help='A factor of the learning rate: "cosine(1, 0, 10_000)".')
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="The largest norm of the whole gradient.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder.  [default: runs/PROGRAM-DATA]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run's folder, to go on with its training.")
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Whether to compile the step.  [default: where it pays]",
            show_default=False,
        ),
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Layers multiply in bfloat16: faster, less exact.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Writes TensorBoard events too.")] = False,
) -> None:
    """Trains a program on data, and writes all about it into a run folder."""
    from . import session
    from .run import Config

    if resume is not None:
        session.go_on(resume, session.beside_resume(context))
        return
    if program is None:
        raise ValueError("name a program to train, such as VAE, or --resume a run")
    config = Config(
        program=program,
        data=data,
        loss=loss,
        optim=session.optimizer(optim, lr),
        epochs=20 if epochs is None and steps is None else epochs,
        steps=steps,
        batch_size=batch_size,
        lr_schedule=lr_schedule,
        clip_norm=clip_norm,
        seed=seed,
        data_dir=data_dir,
        bfloat16=bfloat16,
        compile=compile,
    )
    session.begin(config, out or session.free_folder(config), device, tensorboard=tensorboard)


@app.command()
def evaluate(
    run: Folder,
    data: OtherData = None,
    split: Split_ = Part.test,
    num_particles: Annotated[
        int, typer.Option(min=1, help="Draws for each datum's log-likelihood.")
    ] = 5000,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many data only.")] = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Prints the bound, its rate and distortion, and the importance-weighted log-likelihood."""
    from .run import Run
    from .train import evaluation

    program, part = _trained(run, data, data_dir, split, seed, device)
    results = evaluation(program, _first(part, limit), num_particles=num_particles)
    results |= {"split": split, "data": data or "as trained on", "seed": seed}
    path = Run(run).write_evaluation(results)
    print_table(results, f"{split} data")
    print(path)


@app.command()
def sample(
    run: Folder,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="How many.")] = 64,
    draw: Annotated[
        bool, typer.Option(help="Draws x ~ p(x | z) instead of showing its mean.")
    ] = False,
    label: Annotated[
        int | None,
        typer.Option(help="The label to draw, of a program model(x, y).  [default: one row each]"),
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draws latents from the prior, and a picture of what they decode to."""
    from . import figures

    program, loaded = _program(run, seed, device)
    known = loaded.known
    classes = known.get("num_classes")
    figure = figures.samples(
        program, num, known["x_shape"], num_classes=classes, label=label, mean=not draw
    )
    print(figures.save(figure, out or run / "samples.png"))


@app.command()
def reconstruct(
    run: Folder,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="How many.")] = 10,
    data: OtherData = None,
    split: Split_ = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """A picture of data above their reconstructions."""
    from . import figures
    from .train import labelled

    program, part = _trained(run, data, data_dir, split, seed, device)
    figure = figures.reconstructions(program, *labelled(program, _first(part, num)))
    print(figures.save(figure, out or run / "reconstructions.png"))


@app.command()
def interpolate(
    run: Folder,
    pair: Annotated[
        list[str] | None,
        typer.Option(help='Two items of the data, "3,17"; may be repeated.  [default: five pairs]'),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=2, max=40, help="Points on each line, its ends included.")
    ] = 8,
    data: OtherData = None,
    split: Split_ = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """A picture of straight lines in latent space between pairs of data."""
    from . import figures
    from .train import labelled

    program, part = _trained(run, data, data_dir, split, seed, device)
    if len(part) < 2:
        raise ValueError(f"the {split} data are {len(part)} item, but a line needs two")
    some = [f"{i},{i + 1}" for i in range(0, min(len(part) - 1, 10), 2)]
    pairs = [_pair(text, len(part)) for text in pair or some]
    x, y = labelled(program, part)
    chosen = [[items[end] for items in pairs] for end in (0, 1)]
    start, stop = (x[items] for items in chosen)
    labels = (None, None) if y is None else (y[chosen[0]], y[chosen[1]])
    figure = figures.interpolation(program, start, stop, labels, steps=steps)
    print(figures.save(figure, out or run / "interpolation.png"))


@app.command()
def arithmetic(
    run: Folder,
    label: Annotated[int, typer.Option(help="The label whose attribute is added.")] = 1,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="How many data to change.")] = 8,
    weights: Annotated[
        str, typer.Option(help="How much to add; one column each, after the data themselves.")
    ] = "-1,0,1,2",
    data: OtherData = None,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """A picture of test data without a label moved, in latent space, towards those that have it."""
    from . import figures
    from .train import labelled

    program, found = _trained_and_data(run, data, data_dir, seed, device)
    part, train = found.test, found.train
    if part.y is None or train.y is None or train.y.is_floating_point():
        raise ValueError("the data have no classes, so there is no attribute to add")
    x, y = labelled(program, part)
    if y is not None:
        raise ValueError("the program is model(x, y): sample it with another label instead")
    examples, _ = labelled(program, _first(train, 5000))
    try:
        numbers = [float(weight) for weight in weights.split(",")]
    except ValueError:
        raise ValueError(f'--weights takes numbers such as "0,1,2", but got {weights!r}') from None
    lacks = (part.y >= 0) & (part.y != label)  # of -1, a label that is missing, nobody knows
    x = x[lacks.to(x.device)][:num]
    classes = train.y[: len(examples)].to(x.device)
    examples, has = examples[classes >= 0], classes[classes >= 0] == label
    name = f"label {label}"
    figure = figures.arithmetic(program, x, examples, has, weights=numbers, name=name)
    print(figures.save(figure, out or run / "arithmetic.png"))


@app.command()
def manifold(
    run: Folder,
    columns: Annotated[int, typer.Option(min=2, help="Of the grid of a 2-D latent.")] = 20,
    data: OtherData = None,
    split: Split_ = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """A picture of the latent space: a 2-D one decoded on a grid, else the data's latents."""
    from . import figures
    from .train import labelled

    program, part = _trained(run, data, data_dir, split, seed, device)
    x, y = labelled(program, part)
    figure = figures.latent_space(program, x, y, part.y, columns=columns)
    print(figures.save(figure, out or run / "manifold.png"))


@app.command()
def check(
    program: Program,
    data: Data = "digits",
    loss: Loss = "Trace_ELBO",
    batch_size: BatchSize = 128,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Runs a program once on a batch of data; prints its sites, or what to do about it."""
    from .text import read_data, read_loss, read_program
    from .train import find_device, known, preflight

    found = read_data(data, data_dir)
    print(found.description)
    module = read_program(program, known(found)).to(find_device(device))
    report = preflight(module, found, read_loss(loss, known(found)), batch_size)
    print_rows(report.HEADER, report.rows())
    print(report.summary())


@app.command()
def compare(
    program: Annotated[
        str, typer.Argument(help='"VAE(latent_dim=16)", my_vae.py, or the folder of a run.')
    ],
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help='An estimator, such as "IWAE"; to be repeated.  [default: Trace_ELBO, '
            "TraceMeanField_ELBO, STL, IWAE, DReG, each with vectorized draws]"
        ),
    ] = None,
    num_particles: Annotated[
        str, typer.Option(help="The numbers of draws K to give each.")
    ] = "1,5,50",
    data: Annotated[
        str | None,
        typer.Option(help="A data set.  [default: that of the run, else digits]"),
    ] = None,
    batch_size: BatchSize = 100,
    repeats: Annotated[int, typer.Option(min=2, help="Gradients drawn of each.")] = 100,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Of draws and training of its own; to be repeated.  [default: 0]"),
    ] = None,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Steps of training by Trace_ELBO before it all.")
    ] = 0,
    train_steps: Annotated[
        int | None, typer.Option(min=1, help="Trains each for so many steps, from one beginning.")
    ] = None,
    train_seconds: Annotated[
        float | None, typer.Option(help="Trains each for so long, from one beginning.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="The first so many test data judge the training.")
    ] = 1000,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder.  [default: runs/compare-PROGRAM-DATA]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Compares estimators: bounds, gradients' bias, variance and signal to noise, time, memory."""
    from . import compare as comparing
    from .run import Run

    config = Run(Path(program)).config if Path(program).is_dir() else None
    settings = comparing.Settings(
        program=program,
        data=data or (config.data if config else "digits"),
        data_dir=data_dir or (config.data_dir if config else None),
        losses=tuple(loss or comparing.LOSSES),
        num_particles=comparing.particles(num_particles),
        batch_size=batch_size,
        repeats=repeats,
        seeds=tuple(seed or [0]),
        warm_up=warm_up,
        train_steps=train_steps,
        train_seconds=train_seconds,
        limit=limit,
    )
    folder = comparing.free_folder(settings, out)
    found = comparing.run(settings, device)
    written = comparing.write(found, settings, folder)
    for header, rows in found.tables():
        print_rows(header, rows)
    for line in (*found.refusals(), *written):
        print(line)


@app.command(name="list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="programs, losses, data, priors, ...")] = None,
) -> None:
    """Lists what there is to write in programs, losses and data."""
    import difflib
    import inspect

    from .text import catalogue

    kinds = catalogue()
    if kind is not None and kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, 1)
        meant = f", did you mean {near[0]!r}" if near else ""
        raise ValueError(f"there is no kind {kind!r}{meant}; the kinds are {', '.join(kinds)}")
    for title, names in kinds.items():
        if kind in (None, title):
            about = {
                n + _arguments(value): (inspect.getdoc(value) or "").split("\n")[0]
                for n, value in names.items()
            }
            print_rows((title, ""), list(about.items()))


@app.callback()
def _options(
    traceback: Annotated[  # read by main, so that it may stand anywhere
        bool, typer.Option(TRACEBACK, help="Shows all of where an error comes from.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; what a user can mend is one sentence and exit code 2."""
    words = [word for word in sys.argv[1:] if word != TRACEBACK] or ["--help"]
    printable()
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            code = app(words, standalone_mode=False)
        except Exception as error:
            code = stop(error, shows_traceback=TRACEBACK in sys.argv)
    if code:
        sys.exit(code)


def _arguments(value: Any) -> str:
    import inspect

    try:
        return f"({', '.join(inspect.signature(value).parameters)})"
    except ValueError:
        return ""


def _program(run: Path, seed: int, device: str) -> "tuple[ProgramModule, Run]":
    import pyro

    from .run import Run
    from .train import find_device

    loaded = Run(run)
    program = loaded.load().to(find_device(device))
    pyro.set_rng_seed(seed)
    return program, loaded


def _trained(
    run: Path, data: str | None, data_dir: str | None, split: Part, seed: int, device: str
) -> "tuple[ProgramModule, Split]":
    program, found = _trained_and_data(run, data, data_dir, seed, device)
    return program, getattr(found, split)


def _trained_and_data(
    run: Path, data: str | None, data_dir: str | None, seed: int, device: str
) -> "tuple[ProgramModule, Dataset]":
    from .text import read_loss
    from .train import known, preflight

    program, loaded = _program(run, seed, device)
    found: Dataset = loaded.data(data, data_dir)
    if data is not None:
        print(found.description)
    if found.x_shape != loaded.known["x_shape"]:
        raise ValueError(
            f"data of shape {found.x_shape} do not fit {run}, trained on {loaded.known['x_shape']}"
        )
    if data is not None:
        preflight(program, found, read_loss(loaded.config.loss, known(found)), 128)
    return program, found


def _first(part: "Split", num: int | None) -> "Split":
    from dataclasses import replace

    if num is None:
        return part
    return replace(part, x=part.x[:num], y=None if part.y is None else part.y[:num])


def _pair(text: str, size: int) -> tuple[int, int]:
    try:
        first, second = (int(item) for item in text.split(","))
    except ValueError:
        raise ValueError(f'--pair takes two numbers such as "3,17", but got {text!r}') from None
    if not (0 <= first < size and 0 <= second < size):
        raise ValueError(f"--pair {text} names items outside 0 to {size - 1}")
    return first, second
