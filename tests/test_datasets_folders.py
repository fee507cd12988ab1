"""Users' own pictures: depths, pages, parts in folders, classes, and what cannot be meant."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae import datasets
from pyro_vae.likelihoods import Bernoulli, Normal

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_whichever_tests_ran_before():
    RNG.bit_generator.state = START


def _bytes(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def _save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def _save_pages(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)


def _all(data):
    x = torch.cat([data.train.x, data.valid.x, data.test.x])
    return x[x.flatten(1)[:, 0].argsort()].numpy()


def _sorted(pixels):
    return pixels[pixels.reshape(len(pixels), -1)[:, 0].argsort()]


def _distinct(kind, count=20, *, white=255):
    """Pictures that their first pixel tells apart."""
    pixels = RNG.integers(0, white + 1, (count, 4, 6)).astype(kind)
    pixels[:, 0, 0] = np.arange(count) * (white // count)
    return pixels


def test_grey_pictures_have_one_channel(tmp_path):
    pixels = _distinct(np.uint8)
    for i, picture in enumerate(pixels):
        _save(tmp_path / f"{i}.png", picture)
    data = datasets.folder(tmp_path)
    np.testing.assert_array_equal(_all(data)[:, 0], (pixels / 255).astype(np.float32))
    assert datasets.folder(tmp_path, grey=False).x_shape == (3, 4, 6)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_of_grey_are_read_whole(tmp_path, ending):
    pixels = _distinct(np.uint16, white=65535)
    for i, picture in enumerate(pixels):
        _save(tmp_path / f"{i}.{ending}", picture)
    data = datasets.folder(tmp_path)
    np.testing.assert_array_equal(_all(data)[:, 0], (pixels / 65535).astype(np.float32))
    assert "grey levels of 0 to 65,535" in data.description


def test_sixteen_bits_of_grey_are_resized_whole(tmp_path):
    for i in range(3):
        _save(tmp_path / f"{i}.png", np.full((4, 4), 40_001, np.uint16))
    assert datasets.folder(tmp_path, size=2).train.x.unique() == np.float32(40_001 / 65535)


def test_both_depths_stand_side_by_side(tmp_path):
    for i in range(3):
        _save(tmp_path / f"{i}.png", np.full((4, 4), 51, np.uint8))
        _save(tmp_path / f"deep{i}.png", np.full((4, 4), 52428, np.uint16))
    assert np.unique(_all(datasets.folder(tmp_path))).tolist() == [
        pytest.approx(0.2),
        pytest.approx(0.8),
    ]


def _colours_of_16_bits(value):
    def chunk(kind, content):
        size, check = len(content), zlib.crc32(kind + content)
        return struct.pack(">I", size) + kind + content + struct.pack(">I", check)

    rows = b"".join(b"\0" + np.full((4, 3), value, ">u2").tobytes() for _ in range(4))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_of_colours_of_sixteen_bits_eight_are_read_and_it_is_said(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(_colours_of_16_bits(0x8040))
    data = datasets.folder(tmp_path)
    assert data.train.x.unique().item() == pytest.approx(0x80 / 255)
    assert "colours of 16 bits read as 8" in data.description


def test_a_folder_of_black_and_white_has_a_bernoulli_likelihood(tmp_path):
    for i in range(4):
        _save(tmp_path / f"{i}.png", _bytes(4, 4) > 127)
    data = datasets.folder(tmp_path)
    assert set(np.unique(_all(data))) == {0, 1} and data.x_shape == (1, 4, 4)
    assert isinstance(data.likelihood(data.x_shape), Bernoulli)


def test_masks_of_0_and_1_in_bytes_are_not_taken_for_almost_black(tmp_path):
    for i in range(4):
        _save(tmp_path / f"{i}.png", (_bytes(4, 4) > 127).astype(np.uint8))
    with pytest.raises(ValueError, match="scale=1 if they are bits"):
        datasets.folder(tmp_path)
    assert set(np.unique(_all(datasets.folder(tmp_path, scale=1)))) == {0, 1}


def test_floating_pictures_are_real_numbers(tmp_path):
    for i in range(3):
        _save(tmp_path / f"{i}.tif", np.full((4, 4), i - 0.25, np.float32))
    data = datasets.folder(tmp_path)
    assert np.unique(_all(data)).tolist() == [-0.25, 0.75, 1.75]
    assert data.likelihood is Normal and "real numbers from -0.25 to 1.75" in data.description


@pytest.mark.parametrize("kind, white", [(np.uint8, 255), (np.uint16, 65535)])
def test_pages_of_a_file_are_pictures(tmp_path, kind, white):
    pixels = _distinct(kind, white=white)
    _save_pages(tmp_path / "a" / "stack.tif", pixels[:12])
    _save_pages(tmp_path / "b" / "stack.TIFF", pixels[12:])
    data = datasets.folder(tmp_path)
    expected = (pixels / white).astype(np.float32)
    np.testing.assert_array_equal(_all(data)[:, 0], expected)
    first = torch.cat([data.train.x, data.valid.x, data.test.x])[:, 0, 0, 0]
    y = torch.cat([data.train.y, data.valid.y, data.test.y])
    assert y.equal((first >= float(expected[12, 0, 0])).long())
    assert "a/stack.tif has 12 pages" in data.description
    alone = datasets.arrays(tmp_path / "a" / "stack.tif")
    np.testing.assert_array_equal(_all(alone)[:, 0], expected[:12])
    assert "12 pages of one file" in alone.description


def test_a_file_of_many_pages_of_two_sizes_names_the_page(tmp_path):
    _save_pages(tmp_path / "stack.tif", [_bytes(4, 6), _bytes(4, 6), _bytes(4, 5)])
    with pytest.raises(
        ValueError, match=r"stack.tif, page 3, is \(4, 5\), but .*stack.tif, page 1,"
    ):
        datasets.arrays(tmp_path / "stack.tif")


def test_what_is_no_picture_is_passed_over_and_named(tmp_path):
    for i in range(3):
        _save(tmp_path / f"{i}.PNG", _bytes(4, 4))
    for name in ("labels.csv", ".hidden", "a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("text")
    description = datasets.folder(tmp_path).description
    assert "no pictures, and passed over: a.txt, b.txt, c.txt and 1 more" in description


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_every_mode_are_grey_or_red_green_blue(tmp_path, mode):
    ending = "tif" if mode == "CMYK" else "png"
    picture = Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode)
    for i in range(3):
        picture.save(tmp_path / f"{i}.{ending}")
    x = datasets.folder(tmp_path).train.x
    assert x.shape[1:] == ((1, 4, 6) if mode in ("1", "L", "LA") else (3, 4, 6))
    assert x.min() == 1


def test_sixteen_bits_of_either_order_of_bytes_are_resized(tmp_path):
    for i in range(3):
        pixels = np.full((4, 4), 40_001, ">u2")
        Image.fromarray(pixels).save(tmp_path / f"{i}.tif")
        with Image.open(tmp_path / f"{i}.tif") as picture:
            assert picture.mode == "I;16B"
    assert datasets.folder(tmp_path, size=2).train.x.unique() == np.float32(40_001 / 65535)


def test_coloured_pages_keep_their_channels(tmp_path):
    pixels = _bytes(12, 4, 6, 3)
    pixels[:, 0, 0, 0] = np.arange(12) * 20
    _save_pages(tmp_path / "stack.tif", pixels)
    expected = np.moveaxis(pixels / 255, -1, 1).astype(np.float32)
    np.testing.assert_array_equal(_all(datasets.arrays(tmp_path / "stack.tif")), expected)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_frames_of_a_film_are_no_picture(tmp_path, ending):
    _save_pages(tmp_path / f"0.{ending}", _bytes(3, 8, 8, 3))
    with pytest.raises(ValueError, match=f"0.{ending} holds 3 frames, but expected one picture"):
        datasets.folder(tmp_path)


PARTS = {"train": 10, "valid": 4, "test": 6}


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
@pytest.mark.parametrize("nested", [False, True])
def test_folders_of_parts_are_parts(tmp_path, valid, nested):
    pixels = _distinct(np.uint8)
    names = [valid if part == "valid" else part for part, n in PARTS.items() for _ in range(n)]
    for i, name in enumerate(names):
        home = tmp_path / name / ("cat", "dog")[i % 2] if nested else tmp_path / name
        _save(home / f"{i}.png", pixels[i])
    data = datasets.folder(tmp_path)
    start = 0
    for part, n in PARTS.items():
        split = getattr(data, part)
        order = split.x[:, 0, 0, 0].argsort()
        expected = (pixels[start : start + n] / 255).astype(np.float32)
        np.testing.assert_array_equal(split.x[order][:, 0], expected)
        if nested:
            assert split.y[order].tolist() == [i % 2 for i in range(start, start + n)]
        start += n
    assert data.num_classes == (2 if nested else None)
    if nested:
        assert "2 classes, 0 to 1, from the labels cat, dog" in data.description


def test_a_tenth_of_the_training_folder_validates_where_none_is_for_it(tmp_path):
    for i, picture in enumerate(_distinct(np.uint8)):
        _save(tmp_path / ("test" if i < 5 else "train") / f"{i}.png", picture)
    data = datasets.folder(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [14, 1, 5]


def test_test_pictures_may_have_no_classes(tmp_path):
    for i, picture in enumerate(_distinct(np.uint8)):
        home = "test" if i < 5 else f"train/{'ab'[i % 2]}"
        _save(tmp_path / home / f"{i}.png", picture)
    data = datasets.folder(tmp_path)
    assert data.test.y is None and data.train.y.bincount().tolist() == [7, 7]
    assert "a, b (none in test)" in data.description


@pytest.mark.parametrize(
    "homes, found",
    [
        (["train", "other"], "'other', 'train'"),
        (["train", "train/a"], "'train'"),
        (["train", "val"], "'train', 'val'"),
        (["train", "test", "."], "pictures of its own, 'test', 'train'"),
        (["train", "test", "val", "valid"], "'test', 'train', 'val', 'valid'"),
    ],
)
def test_folders_that_are_neither_parts_nor_classes_are_refused(tmp_path, homes, found):
    for home in homes:
        _save(tmp_path / home / "0.png", _bytes(4, 4))
    with pytest.raises(ValueError, match=f"has {found}, but expected subfolders train and test"):
        datasets.folder(tmp_path)


def test_one_subfolder_is_no_class(tmp_path):
    for i in range(4):
        _save(tmp_path / "images" / f"{i}.png", _bytes(4, 4))
    data = datasets.folder(tmp_path)
    assert data.train.y is None and "the one subfolder 'images' is no class" in data.description


def test_few_labels_and_hidden_pixels_of_a_folder(tmp_path):
    for i in range(60):
        _save(tmp_path / "ab"[i % 2] / f"{i}.png", _bytes(8, 8))
    data = datasets.folder(tmp_path, labels=10, missing=0.25)
    assert (data.train.y >= 0).sum() == 10 and data.valid.y.min() >= 0
    assert 0.2 < data.train.x.isnan().float().mean() < 0.3
    likelihood = data.likelihood(data.x_shape)
    h = torch.zeros(len(data.test), *likelihood.param_shape)
    assert likelihood(h).log_prob(data.test.x).isfinite().all()


def test_pictures_of_numbers_of_two_kinds_are_refused(tmp_path):
    _save(tmp_path / "0.png", _bytes(4, 4))
    _save(tmp_path / "1.tif", np.full((4, 4), 0.5, np.float32))
    with pytest.raises(ValueError, match="0.png and the others hold float32, uint8, but expec"):
        datasets.folder(tmp_path)


def test_a_picture_under_another_ending_is_read_all_the_same(tmp_path):
    for i in range(3):
        _save(tmp_path / f"{i}.png", _bytes(4, 4))
        (tmp_path / f"{i}.png").rename(tmp_path / f"{i}.jpg")
    assert datasets.folder(tmp_path).x_shape == (1, 4, 4)
