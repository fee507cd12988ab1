"""The run folder: what was trained, with what, and what came out; `files` lists its files."""

import io
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save as safetensors_of
from torch import Tensor, nn

from pyro_vae.arguments import arguments, names_in_order, takes_labels
from pyro_vae.datasets import Dataset, Vocabulary
from pyro_vae.frozen import freeze, loaded_tensors, mark_as_loaded
from pyro_vae.inference.terms import traces
from pyro_vae.inference.training import Progress
from pyro_vae.kl_weights import weights_come_later
from pyro_vae.program import Program, ProgramModule, evaluating
from pyro_vae.source import sources

from .config import Config, read_config
from .files import CHECKPOINT, CONFIG, METRICS, RESULTS, VOCABULARY, WEIGHTS
from .first_stages import FirstStage, finding_again, place_of
from .text import (
    read_data,
    read_likelihood,
    read_loss,
    read_penalty,
    read_program,
    split_file,
    text_of,
)
from .writing import write_json, write_whole

__all__ = ["Run", "load"]


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @classmethod
    def start(
        cls,
        folder: Path,
        config: Config,
        known: Mapping[str, Any],
        device: str,
        first_stages: Mapping[str, str],
        vocabulary: Vocabulary | None = None,
    ) -> "Run":
        """Makes the folder of a new run.

        Args:
            folder: Its path.
            config: What is trained.
            known: What the data know, for the arguments of the program.
            device: Where.
            first_stages: The hashes of the weights of what program and loss load, by path.
            vocabulary: Of data that are texts.
        """
        run = cls(folder)
        copies = run.sources(config)
        folder.mkdir(parents=True, exist_ok=True)
        for source, copy in copies:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
        content = asdict(config) | {"known": _as_texts(known), **_circumstances(device)}
        if first_stages:
            content["first_stages"] = {
                path: asdict(FirstStage.copied(path, sha256, folder, number))
                for number, (path, sha256) in enumerate(first_stages.items(), 1)
            }
        write_json(folder / CONFIG, content)
        if vocabulary is not None:
            write_json(folder / VOCABULARY, vocabulary.as_json())
        (folder / METRICS).touch()
        return run

    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return (self.folder / CHECKPOINT).is_file()

    def sources(self, config: Config) -> list[tuple[Path, Path]]:
        """The user's files that program, loss and data are made of, each with its copy here.

        Raises:
            ValueError: If two of them would have one copy.
        """
        copies: dict[Path, Path] = {}
        for text in (config.program, config.loss, config.data, config.penalty or ""):
            file, _ = split_file(text)
            for source in [] if file is None else sources(file):
                copy = self.folder / source.relative_to(Path(file or "").absolute().parent)
                if copies.setdefault(copy, source) != source:
                    raise ValueError(
                        f"{copies[copy]} and {source} would both be {copy}, where the run keeps "
                        "what it is made of; call one of them otherwise"
                    )
        return [(source, copy) for copy, source in copies.items()]

    @property
    def config(self) -> Config:
        """What is trained.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If its configuration is damaged.
        """
        content = read_config(self.folder)
        return Config(**{n: content[n] for n in Config.__dataclass_fields__ if n in content})

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What the tokens of the data stand for; None if they are no texts."""
        path = self.folder / VOCABULARY
        return Vocabulary.load(path) if "num_tokens" in read_config(self.folder)["known"] else None

    @property
    def first_stages(self) -> dict[str, FirstStage]:
        """What is kept of the trained programs that program and loss load, by path."""
        stages = read_config(self.folder).get("first_stages") or {}
        return {path: FirstStage(**stage) for path, stage in stages.items()}

    @property
    def known(self) -> dict[str, Any]:
        """What the data know, for the arguments of the program."""
        written = read_config(self.folder)["known"].items()
        known: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in written}
        if "x_dtype" in known:
            known["x_dtype"] = getattr(torch, known["x_dtype"])
        if "likelihood" in known:
            text = known["likelihood"]
            known["likelihood"] = (
                self._likelihood_of_data if text is None else read_likelihood(text)
            )
        return known

    def _likelihood_of_data(self, x_shape: tuple[int, ...]) -> nn.Module:
        """One that has no text, so that the data must be there if the program asks for it."""
        return self.data().likelihood(x_shape)

    def data(self, data: str | None = None, data_dir: str | None = None) -> Dataset:
        """The data of the run, from where it was started; or other data, from here."""
        config, directory = self.config, Path(read_config(self.folder).get("directory") or ".")
        if data is not None:
            return read_data(data, data_dir or config.data_dir)
        here = None if data_dir is None else str(Path(data_dir).absolute())
        try:
            with chdir(directory if directory.is_dir() else "."):
                return read_data(config.data, here or config.data_dir)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"the data of {self.folder} are not there any more: {error} (seen from "
                f"{directory}); say where they are with --data or --data-dir"
            ) from error

    @property
    def results(self) -> dict[str, Any] | None:
        """The evaluation at the end; None while there is none."""
        path = self.folder / RESULTS
        try:
            return json.loads(path.read_text()) if path.is_file() else None
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and evaluate") from error

    def rewrite_config(
        self, config: Config, known: Mapping[str, Any], device: str, *, moved: bool
    ) -> None:
        """Writes what a run goes on with, and under "resumed" from what to what it changed.

        Args:
            config: As the run goes on.
            known: What the data know now; the run keeps what it knew.
            device: Where it goes on.
            moved: Whether the data are named anew, as seen from here.
        """
        before, now = read_config(self.folder), asdict(config) | _circumstances(device)
        changes = {n: [before.get(n), v] for n, v in now.items() if v != before.get(n)}
        kept = {name: value for name, value in before["known"].items() if value is not None}
        content = before | asdict(config) | {"known": _as_texts(known) | kept}
        if moved:
            content["directory"] = now["directory"]
        content["resumed"] = [*(before.get("resumed") or []), changes]
        write_json(self.folder / CONFIG, content)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Writes the evaluation at the end."""
        write_json(self.folder / RESULTS, results)

    def write_evaluation(self, results: Mapping[str, Any]) -> Path:
        """Writes the results of the command `evaluate`; returns where.

        The file of another evaluation, of other data, draws or numbers of them, is left alone.
        """
        path, number = self.folder / f"evaluation-{results['split']}.json", 2
        while path.exists() and not _is_of_the_same(path, results):
            path = self.folder / f"evaluation-{results['split']}-{number}.json"
            number += 1
        write_json(path, results)
        return path

    def write_metrics(self, records: list[dict[str, float]]) -> None:
        """Writes the records of all epochs."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_whole(self.folder / METRICS, lines.encode())

    def save_weights(self, program: ProgramModule) -> None:
        """Writes the parameters and buffers of a program, but for those of its first stages."""
        write_whole(self.folder / WEIGHTS, safetensors_of(_tensors(program)))

    def save_checkpoint(self, program: ProgramModule, state: Mapping[str, Any]) -> None:
        """Writes the state of a training and its present parameters."""
        content = io.BytesIO()  # torch names no reason if it cannot write a file
        torch.save({"program": _tensors(program), "fit": dict(state)}, content)
        write_whole(self.folder / CHECKPOINT, content.getvalue())

    def load_checkpoint(self, program: ProgramModule) -> dict[str, Any]:
        """Puts the last parameters into a program and returns the state of its training."""
        path = self.folder / CHECKPOINT
        self._make_lazy_parts(program)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            _put(program, content["program"])
            state = content["fit"]
            Progress(**state["progress"])
            if not state["svi"]["steps"] >= 0 or state["rng"]["cpu"].dtype != torch.uint8:
                raise ValueError("its numbers make no sense")
            return state
        except Exception as error:  # a damaged file can fail in many ways
            raise ValueError(f"{path} is damaged or of another program; train anew") from error

    def program(self, known: Mapping[str, Any] | None = None) -> ProgramModule:
        """The program as it was defined, with fresh parameters.

        Args:
            known: What the data know; None for what of it was written down, which is all but
                tensors, such as a mean, that stand among the weights.
        """
        text = _beside(self.config.program)
        with finding_again(self.first_stages, self.folder):
            return read_program(text, self.known if known is None else known, folder=self.folder)

    def loss(self, known: Mapping[str, Any]) -> ELBO:
        """The estimator that it is trained by; `known` is what the data know."""
        with finding_again(self.first_stages, self.folder):
            return read_loss(_beside(self.config.loss), known, folder=self.folder)

    def penalty(self) -> Callable[[nn.Module], Tensor] | None:
        """What is added to the loss's gradient, as it begins; None if nothing is."""
        text = self.config.penalty
        return None if text is None else read_penalty(_beside(text), folder=self.folder)

    def load(self) -> ProgramModule:
        """The program with its trained parameters."""
        with weights_come_later():
            program = self.program()
        self._make_lazy_parts(program)
        self.load_weights(program)
        return program

    def load_weights(self, program: ProgramModule) -> None:
        """Puts the parameters of the best epoch into a program, which has run already.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If they are damaged, or of another program.
        """
        path = self.folder / WEIGHTS
        if not path.is_file():
            raise FileNotFoundError(f"{self.folder} holds no weights: there is no {path}")
        try:
            _put(program, load_safetensors(path))
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ValueError(f"{path} is damaged or of another program; train anew") from error

    def _make_lazy_parts(self, program: ProgramModule) -> None:
        """Runs a program once: autoguides make their parameters at their first call."""
        known = self.known
        x, y = torch.zeros(2, *known["x_shape"], dtype=known.get("x_dtype")), None
        if takes_labels(program) and "num_classes" in known:
            y = torch.zeros(2, dtype=torch.long)
        elif takes_labels(program) and "y_shape" in known:
            y = torch.zeros(2, *known["y_shape"])
        others = {
            name.removesuffix("_shape"): torch.zeros(2, *shape)
            for name, shape in known.items()
            if name.endswith("_shape") and name not in ("x_shape", "y_shape")
        }
        with torch.random.fork_rng(), evaluating(program), pyro.validation_enabled(False):
            try:
                args = _in_order(program, x, y, others)
                traces(program.model, program.guide, args, {})
            except Exception:  # the data may be nothing like zeros; loading says what is missing
                return


def load(path: str | os.PathLike[str], *, frozen: bool = True) -> Program:
    """The trained program of a run folder, frozen; or one from a text or a file, as it begins.

    What is frozen stays as it is: it has no gradient, and remains in evaluation mode. So it may be
    the first stage of another program, whole or in parts, in Python and in texts:

        pyro-vae train "VAE(encoder=load('runs/first').encoder)"

    The folder of such a run keeps a copy of what it needs of the first stage.

    Args:
        path: A run folder; or what one writes on the command line, with all its arguments, such
            as `my_vae.py`, `my_vae.py:MyVAE(latent_dim=16)` or `VAE((1, 28, 28))`.
        frozen: Whether the program of a run folder is frozen; False is to train it on.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If it is damaged, or not such a text.
    """
    text = os.fspath(path)
    folder = place_of(text)
    if os.path.isdir(folder):  # unlike Path's, False of a text that is too long for a name
        program = Run(folder).load()
        return mark_as_loaded(freeze(program)) if frozen else program
    if "(" not in text and "/" in text and ".py" not in text:
        raise FileNotFoundError(f"there is no run folder {text}")
    return read_program(text, {})


def _beside(text: str) -> str:
    """A text as it reads in the run folder, which has its file without the way there."""
    file, call = split_file(text)
    if file is None:
        return text
    return Path(file).name + (f":{call}" if call else "")


def _tensors(program: ProgramModule) -> dict[str, Tensor]:
    """Copies of the parameters and buffers that are the program's own, and no first stage's.

    Those of an autoencoder of 84 million parameters would take 334 MB at each epoch.
    """
    kept, loaded = program.state_dict(keep_vars=True), loaded_tensors(program)
    own = {name: tensor for name, tensor in kept.items() if id(tensor) not in loaded}
    # Clones, since safetensors refuses parameters that share their memory.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in own.items()}


def _put(program: ProgramModule, tensors: Mapping[str, Tensor]) -> None:
    """Loads what `_tensors` gave, all of it and nothing else."""
    kept, loaded = program.state_dict(keep_vars=True), loaded_tensors(program)
    program.load_state_dict({**tensors, **{n: t for n, t in kept.items() if id(t) in loaded}})


def _in_order(
    program: ProgramModule, x: Tensor, y: Tensor | None, others: Mapping[str, Tensor]
) -> list[Tensor]:
    """The arguments of a program: x, y and what has other names."""
    if not others:
        return list(arguments(program, x, y))
    named = {"x": x, **({} if y is None else {"y": y}), **others}
    return [named[name] for name in names_in_order(program, named)]


def _as_texts(known: Mapping[str, Any]) -> dict[str, Any]:
    """What the data know, with texts for their type and likelihood, None if it has none."""
    likelihood = {name: text_of(value) for name, value in known.items() if name == "likelihood"}
    dtype = {n: str(v).removeprefix("torch.") for n, v in known.items() if n == "x_dtype"}
    return dict(known) | likelihood | dtype


def _is_of_the_same(path: Path, results: Mapping[str, Any]) -> bool:
    try:
        written = json.loads(path.read_text())
        return all(written[n] == results[n] for n in ("data", "seed", "num_data", "num_particles"))
    except (ValueError, TypeError, KeyError):
        return False


def _circumstances(device: str) -> dict[str, Any]:
    packages = ("pyro-vae", "pyro-ppl", "torch")
    versions = {"python": platform.python_version()} | {p: version(p) for p in packages}
    return {"directory": str(Path.cwd()), "device": device, "versions": versions}
