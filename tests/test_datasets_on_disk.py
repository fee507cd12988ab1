"""Data that stay on disk are the same data, and train and are judged as in memory."""

import json
import re
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from PIL import Image

from pyro_vae.datasets import Dataset, DataSource, Split, arrays, folder
from pyro_vae.inference import fit
from pyro_vae.models import VAE

PARTS = ("train", "valid", "test")
RANDOM = np.random.default_rng(0)
LEVELS = RANDOM.integers(0, 256, (60, 6, 5), dtype=np.uint8)
CLASSES = RANDOM.integers(0, 3, 60)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", LEVELS)
    np.save(tmp_path / "y.npy", CLASSES)
    return tmp_path


@pytest.fixture
def pictures(tmp_path):
    """Two classes of grey pictures of several sizes."""
    for i in range(24):
        home = tmp_path / "pictures" / ("cats" if i % 3 else "dogs")
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (8 + i % 2, 9), dtype=np.uint8)).save(
            home / f"{i}.png"
        )
    return tmp_path / "pictures"


def whole(part):
    """All x, and all y if there are any, in their order."""
    source = part.source() if isinstance(part, Split) else part
    (batch,) = source.batches(len(part))
    return batch


def check_same(on_disk, in_memory):
    assert on_disk.x_shape == in_memory.x_shape and on_disk.num_classes == in_memory.num_classes
    for part in PARTS:
        one, other = getattr(on_disk, part), getattr(in_memory, part)
        assert isinstance(one, DataSource) and isinstance(other, Split)
        assert one.shapes == other.shapes and one.dtypes == other.dtypes
        for name, tensor in whole(other).items():
            found = whole(one)[name]
            torch.testing.assert_close(found, tensor, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "x, options",
    [
        (LEVELS, {}),
        (LEVELS, {"scale": 100}),
        (LEVELS.reshape(60, 30), {"x_shape": (1, 6, 5)}),
        (LEVELS[..., None].repeat(3, -1), {}),
        (RANDOM.normal(size=(60, 4)), {}),
        (RANDOM.normal(size=(60, 3, 6, 5)).astype(np.float32), {}),
        (np.where(RANDOM.random((60, 4)) < 0.2, np.nan, 1.0), {}),
    ],
)
def test_an_array_on_disk_is_the_array_in_memory(x, options, tmp_path):
    np.save(tmp_path / "x.npy", x)
    on_disk = arrays(tmp_path / "x.npy", in_memory=False, **options)
    check_same(on_disk, arrays(tmp_path / "x.npy", **options))


def test_labels_of_another_file_belong_to_an_array_on_disk(path):
    options = {"y": str(path / "y.npy")}
    on_disk = arrays(path / "x.npy", in_memory=False, **options)
    check_same(on_disk, arrays(path / "x.npy", **options))
    assert on_disk.num_classes == 3 and on_disk.train.shapes["y"] == ()


@pytest.mark.parametrize("grey", [None, True, False])
def test_a_folder_on_disk_is_the_folder_in_memory(pictures, grey):
    options = {"size": 8, "grey": grey}
    check_same(folder(pictures, in_memory=False, **options), folder(pictures, **options))


def test_the_parts_of_a_folder_on_disk_are_its_subfolders(pictures, tmp_path):
    for part in ("train", "test"):
        (tmp_path / "parts" / part).mkdir(parents=True)
    for i, file in enumerate(sorted(pictures.rglob("*.png"))):
        home = tmp_path / "parts" / ("test" if i % 4 == 0 else "train") / file.parent.name
        home.mkdir(exist_ok=True)
        file.rename(home / file.name)
    options = {"size": 8}
    check_same(
        folder(tmp_path / "parts", in_memory=False, **options),
        folder(tmp_path / "parts", **options),
    )


def test_what_data_on_disk_were_taken_for_is_said(path):
    found = arrays(path / "x.npy", in_memory=False)
    assert "grey levels of 0 to 255" in found.description
    assert "judged by 60 of the items; read from disk a batch at a time" in found.description
    assert type(found.likelihood(found.x_shape)).__name__ == "ContinuousBernoulli"


def test_a_training_from_disk_is_bit_for_bit_that_from_memory(path):
    def weights(data):
        pyro.set_rng_seed(0)
        program = VAE((1, 6, 5), 2, hidden=(8,), likelihood=data.likelihood((1, 6, 5)))
        fit(program, data.train, valid=data.valid, epochs=2, batch_size=16, progress=False)
        return torch.cat([p.flatten() for p in program.parameters()])

    on_disk, in_memory = (arrays(path / "x.npy", in_memory=m) for m in (False, True))
    assert torch.equal(weights(on_disk), weights(in_memory))


# Refusals.


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"standardize": True}, "cannot do standardize=True, which takes all data at once"),
        ({"binarize": "dynamic"}, "cannot do binarize='dynamic'"),
        ({"labels": 30}, "cannot do labels=30"),
        ({"missing": 0.5}, "cannot do missing=0.5"),
        ({"x": "images"}, "reads the one array of an .npy file"),
        ({"y": "labels"}, "its labels may stand in another file"),
    ],
)
def test_what_takes_all_data_at_once_is_refused(path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        arrays(path / "x.npy", in_memory=False, **options)


def test_files_that_are_no_rows_on_disk_are_refused(path):
    np.savez(path / "x.npz", x=LEVELS)
    with pytest.raises(ValueError, match="cannot be read a row at a time, but an .npy file can"):
        arrays(path / "x.npz", in_memory=False)
    np.save(path / "flat.npy", np.zeros(5))
    with pytest.raises(ValueError, match=r"has shape \(5,\), but expected"):
        arrays(path / "flat.npy", in_memory=False)
    np.save(path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled objects, which are never read"):
        arrays(path / "objects.npy", in_memory=False)


def test_infinite_values_beyond_the_sample_are_refused_where_they_are_read(path):
    x = RANDOM.normal(size=(5000, 2))
    x[4] = np.inf  # of 500 rows spread over 5,000 none is the fourth
    np.save(path / "x.npy", x)
    data = arrays(path / "x.npy", in_memory=False)
    with pytest.raises(ValueError, match="has infinite values among items"):
        for part in PARTS:
            list(getattr(data, part).batches(100))


def test_a_coloured_picture_among_grey_ones_is_refused_where_it_is_read(pictures):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pictures / "dogs" / "zz.png")
    with pytest.raises(ValueError, match=r"zz.png is coloured \(uint8\), but .* is grey"):
        folder(pictures, size=8, in_memory=False)
    assert folder(pictures, size=8, grey=True, in_memory=False).x_shape == (1, 8, 8)


def test_a_file_of_several_pages_is_no_picture_on_disk(tmp_path):
    pages = [Image.fromarray(np.full((4, 4), i, np.uint8)) for i in range(3)]
    for i in range(3):
        pages[0].save(tmp_path / f"{i}.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match="0.tif has 3 pages, but in_memory=False takes each file"):
        folder(tmp_path, in_memory=False)


# Data sets of sources.


class Noise(DataSource):
    """Numbers that follow from their rows."""

    def __init__(self, count, labels=False, names=("x",)):
        self.count, self.names = count, (*names, "y") if labels else names

    def __len__(self):
        return self.count

    @property
    def shapes(self):
        return {name: () if name == "y" else (3,) for name in self.names}

    @property
    def dtypes(self):
        return {name: torch.int64 if name == "y" else torch.float32 for name in self.names}

    def read(self, rows):
        numbers = torch.stack([(rows * k).sin() for k in (1.0, 2.0, 3.0)], -1).float()
        return {name: rows % 4 if name == "y" else numbers for name in self.names}


def test_a_data_set_may_be_of_sources():
    data = Dataset("noise", Noise(30, True), Noise(5, True), Noise(5, True), classes=4)
    assert data.x_shape == (3,) and data.y_shape == () and data.num_classes == 4
    assert data.x_dtype == torch.float32 and data.to("cpu").train is data.train
    assert "30 + 5 + 5 items" in data.description and "4 classes" in data.description


@pytest.mark.parametrize(
    "parts, error, sentence",
    [
        ([Noise(9, True)] * 3, ValueError, r"not known how many; say so.*classes=10"),
        ([Noise(9, names=("image",))] * 3, ValueError, "tensors image, but none called x"),
        ([Noise(9), Noise(9), Split(torch.zeros(3, 4))], ValueError, r"but of test \(4,\)"),
        ([torch.zeros(3, 4)] * 3, TypeError, "train is of type Tensor, but must be a Split"),
    ],
)
def test_what_is_no_data_set_is_refused(parts, error, sentence):
    with pytest.raises(error, match=sentence):
        Dataset("bad", *parts)


# The command line.


FILE = """
import torch
from pyro_vae.datasets import Dataset, DataSource
from pyro_vae.likelihoods import Normal

class Noise(DataSource):
    shapes, dtypes = {"x": (3,), "y": (), "mask": (3,)}, {
        "x": torch.float32, "y": torch.int64, "mask": torch.float32
    }

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, rows):
        x = torch.stack([(rows * k).sin() for k in (1.0, 2.0, 3.0)], -1).float()
        return {"x": x, "y": rows % 4, "mask": torch.ones_like(x)}

def data(count=60):
    return Dataset("noise", Noise(count), Noise(12), Noise(12), Normal, classes=4)

def wrong():
    return Noise(3)
"""
SMALL = "VAE(latent_dim=2, hidden=(8,))"


def test_a_function_of_a_file_gives_the_data_of_a_training(run, tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    code, out, err = run("train", SMALL, "--data", "mine.py:data(count=40)", "--epochs", 2)
    assert (code, err) == (0, ""), err
    folder = tmp_path / "runs" / "vae-mine"
    assert "noise: 40 + 12 + 12 items" in out and (folder / "mine.py").is_file()
    assert json.loads((folder / "results.json").read_text())["num_data"] == 12
    for words in (
        ("evaluate", "runs/vae-mine", "--num-particles", 5),
        ("evaluate", "runs/vae-mine", "--num-particles", 5, "--limit", 4),
        ("reconstruct", "runs/vae-mine"),
        ("interpolate", "runs/vae-mine"),
        ("manifold", "runs/vae-mine"),
        ("sample", "runs/vae-mine"),
        ("train", "--resume", "runs/vae-mine", "--epochs", 3),
        ("train", "ConditionalVAE(latent_dim=2, hidden=(8,))", "--data", "mine.py", "--steps", 3),
        ("compare", SMALL, "--data", "mine.py", "--num-particles", "1", "--repeats", 2),
    ):
        code, _, err = run(*words)
        assert (code, err) == (0, ""), (words, err)
    found = json.loads((folder / "evaluation-test.json").read_text())
    assert found["num_data"] == 12


def test_a_program_of_a_file_takes_data_of_other_names(run, tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "masked.py").write_text(
        """
import pyro, torch
import pyro.distributions as dist
from torch import nn

net, decoder = nn.Linear(6, 4), nn.Linear(2, 3)

def model(x, mask):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 1.0).mask(mask.bool()).to_event(1), obs=x)

def guide(x, mask):
    loc, scale = net(torch.cat([x, mask], -1)).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))
"""
    )
    words = ("train", "masked.py", "--data", "mine.py", "--epochs", 1, "--out", "a")
    code, out, err = run(*words)
    assert (code, err) == (0, "") and "bound" in out, err
    assert run("evaluate", "a", "--num-particles", 5)[0] == 0


@pytest.mark.parametrize(
    "data, sentence",
    [
        ("mine.py:wrong()", "gives a Noise, but must give a Dataset"),
        ("mine.py:nothing()", "there is no 'nothing'"),
        ("empty.py", r"has no function data\(\); write one"),
        ("lacking.py", "there is no file lacking.py"),
    ],
)
def test_a_file_without_such_a_function_is_refused(run, tmp_path, data, sentence):
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "empty.py").write_text("")
    code, _, err = run("check", SMALL, "--data", data)
    assert code == 2 and sentence.replace("\\", "") in err


def test_whole_numbers_stay_whole_numbers_in_what_a_run_draws(run, tmp_path):
    (tmp_path / "tokens.py").write_text(
        """
import pyro, torch
import pyro.distributions as dist
from torch import nn
from pyro_vae.datasets import Dataset, Split

embed, decoder = nn.Embedding(5, 4), nn.Linear(2, 3 * 5)

def model(x):
    assert x.dtype == torch.int64
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        logits = decoder(z).unflatten(-1, (3, 5))
        pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

def guide(x):
    assert x.dtype == torch.int64
    loc, scale = embed(x).mean(-2).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

def data():
    x = torch.arange(90).reshape(30, 3) % 5
    return Dataset("tokens", Split(x[:20]), Split(x[20:25]), Split(x[25:]))
"""
    )
    code, out, err = run("train", "tokens.py", "--data", "tokens.py", "--epochs", 2, "--out", "a")
    assert (code, err) == (0, ""), err
    assert "no samples.png" not in out
    assert json.loads((tmp_path / "a" / "config.json").read_text())["known"]["x_dtype"] == "int64"
    for words in (("sample",), ("evaluate", "--num-particles", 2), ("interpolate",), ("manifold",)):
        code, _, err = run(words[0], "a", *words[1:])
        assert (code, err) == (0, ""), (words, err)


def test_the_source_of_the_page_trains_from_the_command_line(run, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    (file,) = re.findall(r"```python\n# my_data.py\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my_data.py").write_text(file)
    for program in ("VAE", "ConditionalVAE"):
        code, out, err = run("train", program, "--data", "my_data.py", "--steps", 3)
        assert (code, err) == (0, "") and "2 classes" in out and "bound" in out, err
