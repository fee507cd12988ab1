import gzip
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae import datasets
from pyro_vae.datasets import Dataset, Split

WAYS = ["dynamic", "static", "threshold", None]


def _idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def _write_mnist(data_dir, *, name="MNIST", packed=True, train=12):
    raw = data_dir / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", 4)):
        x = np.arange(count)[:, None, None] * 20 + np.zeros((1, 28, 28))
        for kind, array in (("images-idx3", x), ("labels-idx1", np.arange(count) % 10)):
            content = _idx(array)
            file = raw / f"{part}-{kind}-ubyte"
            if packed:
                file.with_name(file.name + ".gz").write_bytes(gzip.compress(content))
            else:
                file.write_bytes(content)
    return raw


@pytest.fixture
def no_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)


def _save(path, **found):
    np.savez(path, **found)
    return path


def _floats(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def test_digits_are_1797_real_images_in_three_parts():
    data = datasets.digits(None)
    assert [len(data.train), len(data.valid), len(data.test)] == [1297, 200, 300]
    assert data.x_shape == (1, 8, 8) and data.num_classes == 10
    total = sum(part.x.double().sum() for part in (data.train, data.valid, data.test))
    assert total * 16 == 561718  # the sum of all levels in scikit-learn's table


def test_digits_have_the_same_split_every_time():
    assert datasets.digits(None).test.x.equal(datasets.digits(None).test.x)


def test_labels_follow_their_images_through_the_split():
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    label = {image.tobytes(): y for image, y in zip(images, target, strict=True)}
    data = datasets.digits(None)
    for x, y in zip(data.valid.x, data.valid.y, strict=True):
        assert label[(x.double() * 16).numpy().tobytes()] == y


def test_dynamic_binarization_draws_training_images_afresh():
    train = datasets.digits("dynamic").train
    torch.manual_seed(0)
    (first,), (again,) = next(train.batches(50)), next(train.batches(50))
    assert set(first.unique().tolist()) == {0, 1} and not first.equal(again)


def test_dynamic_binarization_has_the_grey_level_as_its_mean():
    train = datasets.digits("dynamic").train
    torch.manual_seed(0)
    draws = torch.stack([next(train.batches(20))[0] for _ in range(400)])
    # the standard error is at most 0.5 / 20; 5 of these for 1,280 pixels
    assert (draws.mean(0) - train.x[:20]).abs().max() < 5 * 0.5 / 20


def test_dynamic_binarization_follows_the_global_generator():
    train = datasets.digits("dynamic").train
    batches = []
    for _ in range(2):
        torch.manual_seed(1)
        batches.append(next(train.batches(50))[0])
    assert batches[0].equal(batches[1])


@pytest.mark.parametrize("part", ["valid", "test"])
def test_dynamic_binarization_leaves_evaluation_data_alone(part):
    one, two = (getattr(datasets.digits("dynamic"), part) for _ in range(2))
    assert set(one.x.unique().tolist()) == {0, 1} and one.draw is None
    assert next(one.batches(200))[0].equal(next(two.batches(200))[0])


def test_static_binarization_draws_every_part_once():
    one, two = datasets.digits("static"), datasets.digits("static")
    assert set(one.train.x.unique().tolist()) == {0, 1}
    assert one.train.draw is None and one.train.x.equal(two.train.x)


def test_threshold_binarization_cuts_at_one_half():
    grey, cut = datasets.digits(None), datasets.digits("threshold")
    assert cut.test.x.equal((grey.test.x > 0.5).float())


@pytest.mark.parametrize("binarize", WAYS)
def test_loading_leaves_the_global_generator_alone(binarize):
    before = torch.get_rng_state()
    datasets.digits(binarize)
    assert torch.get_rng_state().equal(before)


def test_an_unknown_way_to_binarize_names_the_four():
    with pytest.raises(ValueError, match="'dynamic', 'static', 'threshold', None, but is 'hard'"):
        datasets.digits("hard")


def test_batches_keep_the_last_smaller_one():
    assert [len(x) for (x,) in Split(torch.zeros(10, 2)).batches(4)] == [4, 4, 2]


def test_shuffled_batches_hold_every_item_once():
    x = torch.arange(10.0)[:, None]
    batches = Split(x).batches(4, shuffle=True, generator=torch.Generator().manual_seed(0))
    found = torch.cat([b for (b,) in batches])
    assert not found.equal(x) and found.sort(0).values.equal(x)


def test_a_generator_fixes_the_order_and_spares_the_global_one():
    split, before = Split(torch.arange(10.0)[:, None]), torch.get_rng_state()
    one, two = (
        next(split.batches(10, shuffle=True, generator=torch.Generator().manual_seed(3)))[0]
        for _ in range(2)
    )
    assert one.equal(two) and torch.get_rng_state().equal(before)


def test_a_batch_needs_an_item():
    with pytest.raises(ValueError, match="batch_size must be at least 1, but is 0"):
        Split(torch.zeros(2, 1)).batches(0)


def test_moving_a_data_set_keeps_how_it_is_drawn():
    data = datasets.digits().to("meta")
    assert data.train.x.is_meta and data.test.y.is_meta and data.train.draw is not None


def test_parts_of_different_shapes_are_no_data_set():
    one, two = Split(torch.zeros(3, 2)), Split(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"train has shape \(2,\), but of test \(4,\)"):
        Dataset("mixed", one, one, two)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name, load", [("MNIST", "mnist"), ("FashionMNIST", "fashion_mnist")])
def test_idx_files_are_read_without_torchvision(tmp_path, no_torchvision, name, load, packed):
    _write_mnist(tmp_path, name=name, packed=packed)
    data = getattr(datasets, load)(tmp_path, binarize=None)
    assert data.name == load and data.x_shape == (1, 28, 28)
    # the last sixth of the training images is for validation
    assert data.train.x[:, 0, 0, 0].mul(255).round().tolist() == [20 * i for i in range(10)]
    assert data.valid.y.tolist() == [0, 1] and data.test.y.tolist() == [0, 1, 2, 3]


def test_fewer_images_of_mnist_for_validation(tmp_path, no_torchvision):
    _write_mnist(tmp_path)
    data = datasets.mnist(tmp_path, valid=1)
    assert len(data.train) == 11 and len(data.valid) == 1 and len(data.test) == 4
    for valid in (0, 12, -1):
        with pytest.raises(ValueError, match=f"valid is {valid}, but must be from 1 to 11, of 12"):
            datasets.mnist(tmp_path, valid=valid)


def test_reading_mnist_writes_nothing(tmp_path, no_torchvision):
    raw = _write_mnist(tmp_path)
    before = sorted(raw.iterdir())
    datasets.mnist(tmp_path)
    assert sorted(raw.iterdir()) == before


def test_missing_mnist_names_the_folder_and_the_files(tmp_path, no_torchvision):
    with pytest.raises(FileNotFoundError, match=r"MNIST.raw has no train-images-idx3-ubyte, train"):
        datasets.mnist(tmp_path)


def test_torchvision_fetches_what_is_missing(tmp_path, monkeypatch):
    def fetch(root, download):
        assert download
        _write_mnist(root)

    source = SimpleNamespace(datasets=SimpleNamespace(MNIST=fetch))
    monkeypatch.setitem(sys.modules, "torchvision", source)
    assert len(datasets.mnist(tmp_path).test) == 4


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08\3", _idx(np.zeros((12, 28, 28)))[:-1], _idx(np.zeros((12, 27, 28))), b"text"],
)
def test_a_damaged_idx_file_is_named(tmp_path, no_torchvision, content):
    file = _write_mnist(tmp_path, packed=False) / "train-images-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        datasets.mnist(tmp_path)


def test_a_truncated_gzip_file_is_named(tmp_path, no_torchvision):
    file = _write_mnist(tmp_path) / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz cannot be read"):
        datasets.mnist(tmp_path)


def _binarized_home(tmp_path):
    home = tmp_path / "binarized_mnist"
    home.mkdir()
    x = {p: (_floats(n, 784) > 0.5) for p, n in (("train", 5), ("valid", 3), ("test", 4))}
    return home, x


def test_fixed_binarized_mnist_is_unpacked_from_its_bits(tmp_path):
    home, x = _binarized_home(tmp_path)
    _save(home / "binarized_mnist.npz", **{p: np.packbits(a, axis=1) for p, a in x.items()})
    data = datasets.binarized_mnist(tmp_path)
    assert data.x_shape == (1, 28, 28) and data.num_classes is None
    for part, bits in x.items():
        assert (getattr(data, part).x.flatten(1).numpy() == bits).all()


def test_fixed_binarized_mnist_is_read_from_the_original_texts(tmp_path):
    home, x = _binarized_home(tmp_path)
    for part, bits in x.items():
        np.savetxt(home / f"binarized_mnist_{part}.amat", bits, fmt="%d")
    assert (datasets.binarized_mnist(tmp_path).valid.x.flatten(1).numpy() == x["valid"]).all()


def test_missing_binarized_mnist_names_the_original_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="binarized_mnist_train.amat, binarized_mnist_val"):
        datasets.binarized_mnist(tmp_path)


@pytest.mark.parametrize("text", ["0 1 2\n", "0 1\n", "", "x"])
def test_a_damaged_text_of_bits_is_named(tmp_path, text):
    home, _ = _binarized_home(tmp_path)
    for part in ("train", "valid", "test"):
        (home / f"binarized_mnist_{part}.amat").write_text(text)
    with pytest.raises(ValueError, match="binarized_mnist_train.amat"):
        datasets.binarized_mnist(tmp_path)


def test_bits_of_another_width_are_refused(tmp_path):
    home, _ = _binarized_home(tmp_path)
    _save(home / "binarized_mnist.npz", train=np.zeros((3, 784), np.uint8))
    with pytest.raises(ValueError, match=r"train has shape \(3, 784\).* expected \(items, 98\)"):
        datasets.binarized_mnist(tmp_path)


@pytest.mark.parametrize(
    "shape, x_shape",
    [
        ((20, 7), (7,)),
        ((20, 8, 6), (1, 8, 6)),
        ((20, 8, 6, 1), (1, 8, 6)),
        ((20, 8, 6, 3), (3, 8, 6)),
        ((20, 3, 8, 6), (3, 8, 6)),
    ],
)
def test_arrays_become_items_or_images(tmp_path, shape, x_shape):
    np.save(tmp_path / "x.npy", _floats(*shape))
    data = datasets.arrays(tmp_path / "x.npy")
    assert data.x_shape == x_shape and data.name == "x"
    assert [len(data.train), len(data.valid), len(data.test)] == [16, 2, 2]


def test_channels_last_are_moved_not_reshaped(tmp_path):
    x = _floats(9, 4, 5, 3)
    path = _save(tmp_path / "x.npz", train=x, valid=x, test=x)
    assert (datasets.arrays(path).train.x.numpy() == x.transpose(0, 3, 1, 2)).all()


def test_a_split_uses_every_item_once(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(60.0).reshape(30, 2))
    data = datasets.arrays(tmp_path / "x.npy")
    found = torch.cat([data.train.x, data.valid.x, data.test.x])[:, 0]
    assert found.sort().values.tolist() == list(range(0, 60, 2))


def test_a_tenth_of_the_training_data_validates_where_nothing_else_does(tmp_path):
    x = _floats(30, 2)
    path = _save(
        tmp_path / "x.npz", x_train=x, y_train=np.arange(30), x_test=x, y_test=np.arange(30)
    )
    data = datasets.arrays(path)
    assert [len(data.train), len(data.valid), len(data.test)] == [27, 3, 30]
    assert (data.valid.x.numpy() == x[data.valid.y]).all() and data.num_classes == 30


@pytest.mark.parametrize("names", ["x_train x_valid x_test", "train valid test"])
def test_given_parts_stay_as_they_are(tmp_path, names):
    parts = {name: _floats(4, 2, seed=i) for i, name in enumerate(names.split())}
    data = datasets.arrays(_save(tmp_path / "x.npz", **parts))
    found = (data.train.x, data.valid.x, data.test.x)
    assert all((x.numpy() == part).all() for x, part in zip(found, parts.values(), strict=True))


@pytest.mark.parametrize("name", ["x", "images", "anything"])
def test_a_single_array_may_have_any_name(tmp_path, name):
    assert datasets.arrays(_save(tmp_path / "x.npz", **{name: _floats(5, 3)})).x_shape == (3,)


@pytest.mark.parametrize(
    "dtype, scale, largest",
    [("u1", None, 1), ("u1", 10, 25.5), ("i8", 1, 255), (">f8", 255, 1), ("f2", 1, 255)],
)
def test_a_scale_that_is_given_rules(tmp_path, dtype, scale, largest):
    np.save(tmp_path / "x.npy", np.full((5, 2), 255, dtype))
    x = datasets.arrays(tmp_path / "x.npy", scale=scale).train.x
    assert x.dtype == torch.float32 and x.max().item() == pytest.approx(largest)


def test_bits_in_bytes_are_not_taken_for_almost_black(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(5, dtype=np.uint8))
    with pytest.raises(ValueError, match="scale=1 if they are bits"):
        datasets.arrays(tmp_path / "x.npy")
    assert datasets.arrays(tmp_path / "x.npy", scale=1).train.x.max() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_are_read_alone_and_in_a_dictionary(tmp_path, dtype):
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    torch.save(x, tmp_path / "alone.pt")
    torch.save({"x_train": x, "x_valid": x, "x_test": x, "epoch": 3}, tmp_path / "named.pt")
    assert datasets.arrays(tmp_path / "alone.pt").x_shape == (3,)
    assert datasets.arrays(tmp_path / "named.pt").test.x.equal(x.float())


def _intact(kind, tmp_path):
    path = tmp_path / kind
    if path.suffix == ".npy":
        np.save(path, _floats(50, 9))
    elif path.suffix == ".npz":
        _save(path, x=_floats(50, 9))
    else:
        torch.save(torch.zeros(50, 9), path)
    return path


@pytest.mark.parametrize("keep", [0, 1, 7, 60, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["x.npy", "x.npz", "x.pt"])
def test_a_truncated_file_is_named(tmp_path, kind, keep):
    path = _intact(kind, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=f"{kind} (is empty|cannot be read)"):
        datasets.arrays(path)


@pytest.mark.parametrize("kind", ["x.npy", "x.npz", "x.pt"])
def test_pickled_objects_are_never_read(tmp_path, kind):
    path, found = tmp_path / kind, np.array([{}, None], dtype=object)
    if kind == "x.npy":
        np.save(path, found)
    elif kind == "x.npz":
        _save(path, x=found)
    else:
        torch.save(SimpleNamespace(x=1), path)
    with pytest.raises(ValueError, match="holds pickled objects, which are never read"):
        datasets.arrays(path)


BAD = {
    "0-d": (dict(x=np.float32(1)), r"shape \(\)"),
    "1-d": (dict(x=_floats(9)), r"shape \(9,\), but expected \(items"),
    "no items": (dict(x=_floats(0, 3)), r"shape \(0, 3\)"),
    "no features": (dict(x=_floats(3, 0)), r"shape \(3, 0\)"),
    "two items": (dict(x=_floats(2, 3)), "2 items, but a split needs 3"),
    "one training item": (dict(train=_floats(1, 3), test=_floats(3, 3)), "1 item, but .* needs 2"),
    "text": (dict(x=np.array([["a", "b"]])), "dtype <U1, but expected real numbers"),
    "complex": (dict(x=np.ones((3, 2), complex)), "dtype complex128"),
    "infinite": (dict(x=np.diag([1, 1, np.nan, np.inf])), "1 infinite values, .* in item 3"),
    "all NaN": (dict(x=np.full((4, 2), np.nan)), "holds nothing but NaN"),
    "too large": (dict(x=np.full((4, 2), 1e300)), r"from 1e\+300 to 1e\+300 .* standardize=True"),
    "shapes": (dict(train=_floats(4, 3), test=_floats(4, 2)), r"\(3,\), but of test \(2,\)"),
    "few labels": (dict(x=_floats(4, 3), y=np.arange(3)), r"labels of shape \(3,\)"),
    "one label": (dict(x=_floats(4, 3), y=np.array(3)), r"labels of shape \(\)"),
    "complex labels": (dict(x=_floats(3, 3), y=np.ones(3, complex)), "labels of dtype complex128"),
    "negative labels": (dict(x=_floats(3, 3), y=np.array([0, 1, -2])), "labels from -2 on"),
    "labels of 1 and -1": (dict(x=_floats(3, 3), y=np.array([1, 1, -1])), "only 1 for labels"),
    "one-hot": (dict(x=_floats(3, 3), y=np.eye(3, dtype=int)), r"y.argmax\(1\)"),
    "labels alone": (dict(y=np.arange(9)), "holds y; expected one array"),
    "x twice": (dict(x=_floats(3, 3), images=_floats(3, 3)), "holds x and images, either of which"),
    "no test": (dict(x_train=_floats(3, 3), y_train=np.arange(3)), "holds x_train, y_train; expec"),
    "unknown names": (dict(a=_floats(3, 3), b=_floats(3, 3)), "holds a, b; expected one array"),
    "nothing": ({}, "holds nothing"),
}


@pytest.mark.parametrize("found, sentence", BAD.values(), ids=BAD)
def test_arrays_that_are_no_data_are_refused(tmp_path, found, sentence):
    with pytest.raises(ValueError, match=sentence):
        datasets.arrays(_save(tmp_path / "x.npz", **found))


@pytest.mark.parametrize("binarize", ["dynamic", "static", "threshold"])
def test_only_grey_levels_are_binarized(tmp_path, binarize):
    np.save(tmp_path / "x.npy", np.array([[0.0, 1.0], [0.5, 2.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"but only grey levels in \[0, 1\] can be binarized"):
        datasets.arrays(tmp_path / "x.npy", binarize=binarize)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_is_positive(scale):
    with pytest.raises(ValueError, match="scale must be a positive number"):
        datasets.arrays("x.npy", scale=scale)


def test_a_file_that_is_missing_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*gone.npz"):
        datasets.arrays(tmp_path / "gone.npz")
    with pytest.raises(ValueError, match=r"ends in '.h5', but expected .npy, .npz, .pt.* or .tiff"):
        datasets.arrays(tmp_path / "x.h5")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="is a folder, but expected a file"):
        datasets.arrays(tmp_path / "folder.npz")


def _picture(path, size=(6, 4), color=(255, 0, 0), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def test_subfolders_of_pictures_are_classes(tmp_path):
    for i in range(5):
        _picture(tmp_path / "red" / f"{i}.png", color=(255, 0, 0))
        _picture(tmp_path / "blue" / f"{i}.bmp", color=(0, 0, 255))
    (tmp_path / "red" / "notes.txt").write_text("not a picture")
    data = datasets.folder(tmp_path)
    assert data.x_shape == (3, 4, 6) and data.num_classes == 2
    assert [len(data.train), len(data.valid), len(data.test)] == [8, 1, 1]
    # blue comes before red, and red pictures have a red channel of 1
    assert data.train.x[:, 0].amax((1, 2)).equal(data.train.y.float())


def test_loose_pictures_have_no_labels(tmp_path):
    for i in range(3):
        _picture(tmp_path / f"{i}.png")
    _picture(tmp_path / ".hidden.png")
    data = datasets.folder(tmp_path, grey=True, binarize="threshold")
    assert data.x_shape == (1, 4, 6) and data.num_classes is None and len(data.train) == 1


def test_pictures_are_cropped_to_their_centre_before_they_are_resized(tmp_path):
    for i in range(3):
        picture = Image.new("RGB", (12, 4), (0, 255, 0))
        picture.paste((0, 0, 255), (4, 0, 8, 4))
        picture.save(tmp_path / f"{i}.png")
    x = datasets.folder(tmp_path, size=2).train.x
    assert x.round().equal(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2))


def test_pictures_of_different_sizes_need_a_size(tmp_path):
    for i in range(3):
        _picture(tmp_path / f"{i}.png", size=(4 + i, 4))
    with pytest.raises(
        ValueError, match=r"1.png is \(4, 5\), but .*0.png is \(4, 4\).* give size="
    ):
        datasets.folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_damaged_picture_is_named(tmp_path, content):
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(ValueError, match="0.png (is empty|cannot be read)"):
        datasets.folder(tmp_path)


def test_a_truncated_picture_is_named(tmp_path):
    noise = (_floats(32, 32, 3) * 255).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "0.png")
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:1500])
    with pytest.raises(ValueError, match="0.png cannot be read"):
        datasets.folder(tmp_path)


def test_deep_pictures_are_not_clipped_to_bytes(tmp_path):
    for i in range(3):
        _picture(tmp_path / f"{i}.png", color=60000, mode="I;16")
    x = datasets.folder(tmp_path).train.x
    assert x.shape == (1, 1, 4, 6) and x.unique().tolist() == [pytest.approx(60000 / 65535)]


def test_a_folder_needs_pictures(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(FileNotFoundError, match="is no folder with pictures"):
            datasets.folder(path)


def test_a_folder_has_labels_for_all_pictures_or_none(tmp_path):
    _picture(tmp_path / "0.png")
    _picture(tmp_path / "red" / "0.png")
    with pytest.raises(ValueError, match="pictures beside its subfolders"):
        datasets.folder(tmp_path)


def test_a_picture_needs_a_pixel(tmp_path):
    with pytest.raises(ValueError, match="size must be at least 1, but is 0"):
        datasets.folder(tmp_path, size=0)
