"""The command `explore`: a file is written, or a sentence says why not."""

import base64

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyro_vae.app.explorer import contents, write
from pyro_vae.app.explorer.numbers import stored
from pyro_vae.app.explorer.opened import OpenedRun
from pyro_vae.app.run import Run
from pyro_vae.models import VAE


def test_the_file_is_written_where_no_browser_is_found(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(write.webbrowser, "open", lambda address: False)
    code, out, err = trained("explore", "a")
    assert code == 0, err
    assert (tmp_path / "a" / "explorer.html").is_file()
    assert "no browser was found" in out and str(tmp_path / "a" / "explorer.html") in out


def test_the_page_is_opened_in_the_browser(trained, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(
        write.webbrowser, "open", lambda address: bool(opened.append(address)) or True
    )
    _, out, _ = trained("explore", "a", "--out", "some/page.html")
    assert opened == [(tmp_path / "some" / "page.html").as_uri()] and "no browser" not in out


def test_without_opening_no_browser_is_asked(trained, monkeypatch):
    monkeypatch.setattr(write.webbrowser, "open", lambda address: pytest.fail("opened"))
    assert trained("explore", "a", "--no-open")[0] == 0


def test_codes_are_refused_in_a_sentence(run):
    assert run("train", "VQVAE(channels=(4,))", "--steps", 2, "--out", "codes")[0] == 0
    code, _, err = run("explore", "codes", "--no-open")
    assert code == 2 and "are codes or classes: z" in err and "pyro-vae sample" in err


def test_weights_that_are_not_finite_are_refused(trained, tmp_path):
    path = tmp_path / "a" / "weights.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.startswith("decoder") and "weight" in name)
    weights[name][0] = torch.nan
    save_file(weights, path)
    code, _, err = trained("explore", "a", "--no-open")
    assert code == 2 and f"of {name} of a are not finite" in err


def test_runs_of_other_latents_are_not_shown_side_by_side(trained):
    assert trained("train", "VAE(latent_dim=3, hidden=(8,))", "--steps", 2, "--out", "b")[0] == 0
    code, _, err = trained("explore", "a", "b", "--no-open")
    assert code == 2 and "z (2,)" in err and "z (3,)" in err


def test_a_page_asks_nothing_of_a_network(trained, tmp_path):
    trained("explore", "a", "--no-open")
    page = (tmp_path / "a" / "explorer.html").read_text()
    assert "default-src 'none'" in page
    assert "src=" not in page and "@import" not in page


def test_a_text_that_would_end_a_script_does_not():
    page = write.page({"title": "</script><b>"}, "")
    assert "</script><b>" not in page and "\\u003c/script>" in page


def test_the_page_of_mnist_is_below_three_megabytes(trained, tmp_path):
    torch.manual_seed(0)
    program = VAE((1, 28, 28), latent_dim=2, hidden=(500,)).eval()
    x = torch.rand(1_000, 1, 28, 28).round()
    opened = OpenedRun(Run(tmp_path / "a"), program, x, None, torch.arange(1_000) % 10)
    assert len(write.page(*contents.page_content([opened]))) < 3e6


@pytest.mark.parametrize(
    "values, kind",
    [
        (torch.tensor([0.0, 1.0, 1.0]), "u8"),
        (torch.tensor([0.0, 16.0, 7.0]), "u8"),
        (torch.arange(256) / 255, "u8"),
        (torch.tensor([0.5, -1.25]), "f32"),
        (torch.tensor([0.0, 0.1234]), "f32"),
    ],
)
def test_numbers_are_stored_exactly(values, kind):
    found = stored(values)
    content = base64.b64decode(found["base64"])
    assert found["stored"] == kind
    if kind == "u8":
        given = found["low"] + found["step"] * np.frombuffer(content, np.uint8)
    else:
        given = np.frombuffer(content, "<f4")
    np.testing.assert_allclose(given, values, atol=1e-7)
