"""A headless Chromium that opens pages, without a network of its own."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_NOBODY = "not an origin"
_QUIET = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *("--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=2000"),
)


class Opened(NamedTuple):
    """What came of opening a page.

    Attributes:
        dom: the document after its scripts have run.
        console: what they wrote to the console, and errors.
        requests: the addresses that were asked for on a network.
    """

    dom: str
    console: list[str]
    requests: list[str]


def chromium() -> str:
    """Return the program, or skip the test."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs Chromium: none of {', '.join(_NAMES)} is installed")
    return found


def open_page(page: Path, folder: Path, *more: str) -> Opened:
    """Open a page.

    Args:
        page: an HTML file.
        folder: for the browser's own files.
        more: arguments.
    """
    log = folder / "net.json"
    words = [chromium(), *_QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    if os.geteuid() == 0:
        words.append("--no-sandbox")  # Chromium will not sandbox root
    done = subprocess.run(
        [*words, *more, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    console = re.findall(r"CONSOLE.*?\] (.*)", done.stderr)
    return Opened(done.stdout, console, _requests(json.loads(log.read_text())))


def _requests(log: dict[str, object]) -> list[str]:
    found = []
    for event in log["events"]:  # type: ignore[attr-defined]
        asked = event.get("params", {})
        # What the browser wants for itself, such as the time, no page has initiated.
        if asked.get("initiator", _NOBODY) == _NOBODY:
            continue
        if re.match(r"(https?|wss?|ftp):", asked.get("url", "")):
            found.append(asked["url"])
    return found
