"""The page of the latent explorer in a real browser: what a reader does, and what then happens."""

import json
import re

import numpy as np
import pytest
import torch

from pyro_vae.app.explorer.contents import page_content
from pyro_vae.app.explorer.opened import open_runs
from pyro_vae.app.explorer.write import page as html_of

from .browser import browser_or_skip, page_of

TRAININGS = {
    "flat": ("VAE(latent_dim=2, hidden=(16,))",),
    "point": ("Autoencoder(latent_dim=2, hidden=(16,))",),
    "flow": ("VAE(latent_dim=2, hidden=(16,), posterior=InverseAutoregressiveFlow(2))",),
    "line": ("VAE(latent_dim=1, hidden=(16,))",),
    "deep": ("VAE(latent_dim=6, hidden=(16,))",),
    "labels": ("ConditionalVAE(latent_dim=2, hidden=(16,))",),
    "layers": ("HierarchicalVAE(latent_dims=(3, 2), hidden=(16,))",),
    "names": ("VAE(latent_dim=4, encoder=RecurrentEncoder)", "--data", "names"),
}


@pytest.fixture(scope="session")
def runs(command, tmp_path_factory):
    """Gives the folder of a small run of a kind, trained when first asked for."""
    home, made = tmp_path_factory.mktemp("explored"), {}

    def run(name):
        if name not in made:
            made[name] = home / name
            program, *options = TRAININGS[name]
            words = ["train", program, *options, "--steps", 30, "--out", made[name]]
            assert command(*words) == 0
        return made[name]

    return run


@pytest.fixture(scope="session")
def written(runs):
    """Gives the page of one run or two, as HTML."""
    made = {}

    def page(*names):
        if names not in made:
            opened = open_runs([runs(name) for name in names], None, None, "test", 0)
            made[names] = html_of(*page_content(opened))
        return made[names]

    return page


@pytest.fixture(scope="module")
def browser():
    with browser_or_skip() as browser:
        yield browser


@pytest.fixture
def opened(browser, written, tmp_path):
    """Opens the page of a run or two; whatever it logs or requests fails the test."""
    contexts = []

    def open_page(*names, **options):
        options.setdefault("viewport", {"width": 1280, "height": 800})
        options.setdefault("reduced_motion", "reduce")  # z is then where it goes at once
        contexts.append(page_of(browser, written(*names), tmp_path, **options))
        page = contexts[-1].__enter__()
        until(page, "window.explorer && document.querySelector('.datum-button') !== null")
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.__exit__(None, None, None)


def until(page, expression):
    """Waits for what is to become true; Playwright's own way is an eval, which the page forbids."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"still not so after a minute: {expression}")


def settle(page):
    """Waits until all that is chosen is shown."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


def state(page):
    settle(page)
    return page.evaluate("window.explorer.state()")


def picture(page, selector="#live .datum"):
    settle(page)
    return page.evaluate(f"document.querySelector('{selector}').toDataURL()")


def middle(page, selector=".front"):
    box = page.locator(selector).first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_dragging_moves_the_point_and_changes_the_picture(opened):
    page = opened("flat")
    before, x, y = picture(page), *middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y - 60, steps=5)
    assert picture(page) != before
    box = page.locator(".front").bounding_box()
    half = state(page)["view"]["half"]
    expected = [120 * 2 * half / box["width"], 60 * 2 * half / box["width"]]
    assert state(page)["z"] == pytest.approx(expected, abs=0.03)


def test_a_mouse_that_is_not_pressed_moves_nothing(opened):
    page = opened("flat")
    before, (x, y) = state(page)["z"], middle(page)
    page.mouse.move(x, y)
    page.mouse.move(x + 50, y + 50)
    assert state(page)["z"] == before


@pytest.mark.parametrize(
    "key, number, sign",
    [("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1)],
)
def test_arrow_keys_move_the_point(opened, key, number, sign):
    page = opened("flat")
    page.click("#reset")
    page.focus(".front")
    page.keyboard.press(key)
    z = state(page)["z"]
    assert z[number] * sign > 0 and z[1 - number] == 0


def test_a_finger_moves_the_point(opened):
    page = opened("flat", has_touch=True, viewport={"width": 390, "height": 844})
    box = page.locator(".front").bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    half = state(page)["view"]["half"]
    assert state(page)["z"] == pytest.approx([0.5 * half, 0], abs=0.03)


def test_the_picture_is_what_the_program_decodes(opened, runs):
    from pyro_vae import load
    from pyro_vae.inference import decode

    page = opened("flat")
    z = torch.tensor([[0.5, -1.25]])
    found = page.evaluate("(z) => [...window.explorer.decode(z)]", z[0].tolist())
    expected = decode(load(str(runs("flat"))), {"z": z}, 1, (1, 8, 8))
    np.testing.assert_allclose(found, expected.flatten(), atol=1e-4)


def test_the_true_posterior_agrees_with_torch(opened, runs):
    page = opened("flat")
    (run,) = open_runs([runs("flat")], None, None, "test", 0)
    points = torch.cartesian_prod(*[torch.linspace(-2, 2, 5)] * 2)
    x = run.x[:1]
    asked = "([x, points]) => points.map((z) => window.explorer.logJoint(x, z).joint)"
    found = page.evaluate(asked, [x.flatten().tolist(), points.tolist()])
    vae = run.program
    with torch.no_grad():
        log_px = vae.likelihood(vae.decoder(points)).log_prob(x.expand(25, 1, 8, 8))
        expected = log_px + torch.distributions.Normal(0, 1).log_prob(points).sum(1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_click_on_a_datum_sends_z_to_its_mean(opened, runs):
    page = opened("flat")
    page.locator(".datum-button").nth(3).click()
    (run,) = open_runs([runs("flat")], None, None, "test", 0)
    expected = run.program.posterior(run.program.encoder(run.x[3:4])).mean
    np.testing.assert_allclose(state(page)["z"], expected.detach()[0], atol=1e-4)
    assert state(page)["datum"] == "datum 3"


@pytest.mark.parametrize("background", ["pictures", "data", "prior", "datum"])
def test_each_background_is_drawn(opened, background):
    page = opened("flat")
    page.click(f"[data-value={background}]")
    settle(page)
    until(page, "[...document.querySelectorAll('.progress')].every((words) => words.hidden)")
    shown = page.evaluate(
        "[...new Uint32Array(document.querySelector('.square canvas').getContext('2d')"
        ".getImageData(0, 0, 400, 400).data.buffer)]"
    )
    assert len(set(shown)) > 20
    assert state(page)["background"] == background
    assert page.locator("#background-words").inner_text()


def test_a_posterior_without_deviations_is_shown_by_its_draws(opened, runs):
    page = opened("flow")
    page.click("[data-value=datum]")
    assert "draws" in page.locator("#background-words").inner_text()
    x = open_runs([runs("flow")], None, None, "test", 0)[0].x[0]
    found = page.evaluate(
        "(x) => window.explorer.encode(x).cloud.map((z) => [...z])", x.flatten().tolist()
    )
    assert np.shape(found) == (150, 2) and np.std(found, axis=0).min() > 0.1


def test_sliders_stand_in_the_order_of_their_rates(opened):
    page = opened("deep")
    rates = page.evaluate("[...window.explorer.programs[0].rates]")
    order = page.evaluate(
        "[...document.querySelectorAll('[data-number]')].map((s) => +s.dataset.number)"
    )
    shown = [rates[number] for number in order]
    assert shown == sorted(shown, reverse=True)
    silent = page.locator("details [data-number]").count()
    assert silent >= sum(rate < 0.05 for rate in rates)


def test_a_slider_moves_its_number_alone(opened):
    page = opened("deep")
    before = state(page)["z"]
    slider = page.locator("[data-number]").first
    number = int(slider.get_attribute("data-number"))
    slider.evaluate("(s) => { s.value = 1; s.dispatchEvent(new Event('input')); }")
    after = state(page)["z"]
    assert after[number] == pytest.approx(1, abs=0.01)
    assert [v for i, v in enumerate(after) if i != number] == [
        v for i, v in enumerate(before) if i != number
    ]


def test_a_latent_of_one_number_has_a_slider_and_no_plane(opened):
    page = opened("line")
    before = picture(page)
    slider = page.locator("[data-number]")
    slider.evaluate("(s) => { s.value = 1; s.dispatchEvent(new Event('input')); }")
    assert picture(page) != before and not page.locator(".front").count()


def test_the_plane_shows_any_two_numbers(opened):
    page = opened("deep")
    page.locator("#axes select").first.select_option("4")
    page.locator("#axes select").last.select_option("1")
    page.mouse.click(*middle(page))
    z = state(page)["z"]
    assert state(page)["axes"] == [4, 1]
    assert [z[4], z[1]] == pytest.approx([0, 0], abs=0.02)


def test_reset_and_random_move_z(opened):
    page = opened("deep")
    page.click("#reset")
    assert state(page)["z"] == [0] * 6
    page.click("#random")
    first = state(page)["z"]
    page.click("#random")
    assert first != [0] * 6 and state(page)["z"] != first


def test_copy_writes_z_as_python_reads_it(opened):
    page = opened("flat")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    until(page, "document.getElementById('copy').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    found = json.loads(re.fullmatch(r"z = (\[.*\])", copied)[1])
    assert found == pytest.approx(state(page)["z"], abs=1e-4)


@pytest.mark.parametrize("kind", ["straight", "round"])
def test_a_path_leads_from_one_datum_to_another(opened, kind):
    page = opened("flat")
    page.locator(".datum-button").nth(5).click()
    page.locator(".end").last.click()
    page.click(f"[data-value={kind}]")
    scrubber = page.locator("#path input")
    ends = [state(page)["path"]["from"], 5]
    for place, datum in zip((0, 1), ends, strict=True):
        scrubber.evaluate(f"(s) => {{ s.value = {place}; s.dispatchEvent(new Event('input')); }}")
        z = state(page)["z"]
        page.locator(".datum-button").nth(datum).click()
        assert state(page)["z"] == pytest.approx(z, abs=1e-4)


def test_play_goes_along_the_path(opened):
    page = opened("flat")
    page.click("#path .round")
    until(page, "window.explorer.state().path.share > 0.05")
    page.click("#path .round")
    share = state(page)["path"]["share"]
    assert state(page)["path"]["share"] == share


def test_the_label_changes_the_picture_and_not_z(opened):
    page = opened("labels")
    z, before = state(page)["z"], picture(page)
    y = state(page)["y"]
    page.click(f"#choice [data-value='{(y + 1) % 10}']")
    assert picture(page) != before and state(page)["z"] == z
    assert state(page)["y"] == (y + 1) % 10


def test_a_temperature_changes_what_a_layer_adds(opened):
    page = opened("layers")
    page.get_by_role("button", name="Draw", exact=True).click()
    before = picture(page)
    slider = page.locator("[data-layer]")
    slider.evaluate("(s) => { s.value = 0; s.dispatchEvent(new Event('input')); }")
    cold = picture(page)
    page.get_by_role("button", name="Draw", exact=True).click()
    assert before != cold and picture(page) == cold


def test_a_datum_of_a_hierarchy_is_reconstructed_by_all_its_layers(opened, runs):
    page = opened("layers")
    (run,) = open_runs([runs("layers")], None, None, "test", 0)
    page.locator(".datum-button").nth(2).click()
    found = page.evaluate("[...window.explorer.decode(window.explorer.state().z)]")
    program, x = run.program, run.x[2:3]
    with torch.no_grad():
        z_1 = program.posteriors[0](program.encoders[0](x)).mean
        expected = program.likelihood(program.decoders[0](z_1)).mean
    np.testing.assert_allclose(found, expected.flatten(), atol=1e-4)


def test_a_drawing_is_encoded_and_decoded(opened):
    page = opened("flat")
    page.locator(".sheet").scroll_into_view_if_needed()
    x, y = middle(page, ".sheet")
    page.mouse.move(x, y - 60)
    page.mouse.down()
    page.mouse.move(x, y + 60, steps=6)
    page.mouse.up()
    assert state(page)["datum"].startswith("your drawing")
    sizes = page.evaluate("window.explorer.drawn()")
    assert sizes["x"].count(1) > 4 and set(sizes["x"]) <= {0, 1}
    centre = np.average(np.arange(8) + 0.5, weights=np.reshape(sizes["x"], (8, 8)).sum(0))
    assert centre == pytest.approx(4, abs=0.6)


def test_two_runs_stand_side_by_side_at_one_z(opened):
    page = opened("flat", "point")
    before = picture(page), picture(page, "#live figure:last-child .datum")
    page.mouse.click(*middle(page))
    after = picture(page), picture(page, "#live figure:last-child .datum")
    assert state(page)["z"] == pytest.approx([0, 0], abs=0.02)
    assert before[0] != after[0] and before[1] != after[1] and after[0] != after[1]
    assert page.locator(".plane").count() == 2


def test_a_program_of_texts_shows_the_nearest_text(opened):
    page = opened("names")
    assert "grid" in page.locator("#live figcaption").inner_text()
    page.evaluate(
        "window.explorer.programs[0].texts.written.forEach("
        "(_, i, all) => { all[i] = `text ${i}`; })"
    )
    box = page.locator(".front").bounding_box()
    for column, row in ((2, 14), (14, 2), (8, 4)):  # of 17 by 17 points, the lowest row first
        x, y = column / 16, 1 - row / 16
        page.mouse.click(
            box["x"] + 1 + x * (box["width"] - 2), box["y"] + 1 + y * (box["height"] - 2)
        )
        settle(page)
        assert page.locator("#live .text").inner_text() == f"text {17 * row + column}"


@pytest.mark.parametrize("names", [("flat",), ("deep",), ("flat", "point"), ("names",)])
def test_a_phone_does_not_scroll_sideways(opened, names):
    page = opened(*names, viewport={"width": 390, "height": 844}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_dark_page_is_dark(opened):
    page = opened("flat", color_scheme="dark")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour))) < 60


def test_every_control_has_a_name(opened):
    page = opened("layers")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas.front, canvas.sheet')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.title))"
        ".map((e) => e.outerHTML)"
    )
    assert not unnamed
