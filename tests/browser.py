"""A real browser for tests: Debian's Chromium, driven by Playwright."""

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

__all__ = ["browser_or_skip", "page_of"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def _reason():
    """Why there is no browser to test in; None if there is one."""
    if find_spec("playwright") is None:
        return "needs Playwright: pip install playwright"
    if not any(shutil.which(name) for name in _NAMES):
        return "needs a browser: apt-get install chromium"
    return None


@contextmanager
def browser_or_skip():
    """A headless Chromium; skips the test where there is none, or fails if one is required."""
    reason = _reason()
    if reason is not None:
        (pytest.fail if os.environ.get("PYRO_VAE_BROWSER_REQUIRED") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, _NAMES)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(browser, html, folder, **options):
    """A page opened from a file in a folder; fails if it logs an error or requests anything else.

    Args:
        browser: What `browser_or_skip` gives.
        html: The content of the page.
        folder: Where to write it.
        options: Of Playwright's `new_page`, such as viewport.
    """
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    page = browser.new_page(**options)
    errors, requests = [], []
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    try:
        page.goto(path.as_uri())
        yield page
    finally:
        page.close()
    assert not errors, errors
    others = [r for r in requests if not r.startswith(("data:", "blob:")) and r != path.as_uri()]
    assert not others, others
