"""Optional dependencies: what to install where one is missing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_PACKAGE = "emodc"


@contextmanager
def importing(extra: str, purpose: str) -> Iterator[None]:
    """Say how to install an extra if an import inside the block fails.

    Args:
        extra: its name in ``pyproject.toml``.
        purpose: what needs it.

    Raises:
        ImportError: a module is missing; one line with the remedy.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{purpose} needs {error.name}, which is not installed: {install_command(extra)}"
        ) from None


def install_command(extra: str) -> str:
    """Return what installs an extra beside the copy of this package that is running.

    That may be a checkout, or have been installed from a folder, an archive or a repository: an
    index that the package was not taken from need not have it.
    """
    if (root := _checkout()) is not None:
        return f'pip install -e "{root}[{extra}]"'
    try:
        origin = distribution(_PACKAGE).read_text("direct_url.json")  # PEP 610
    except PackageNotFoundError:
        origin = None
    return f'pip install "{_PACKAGE}[{extra}]{_reference(origin)}"'


def _checkout() -> Path | None:
    """Return the folder of the checkout that this file belongs to, if it does."""
    *_, source, root = Path(__file__).resolve().parents[:4]
    return root if source.name == "src" and (root / "pyproject.toml").is_file() else None


def _reference(origin: str | None) -> str:
    """Return where the package was installed from, as a requirement tells it."""
    if origin is None:
        return ""
    known = json.loads(origin)
    url, vcs = known["url"], known.get("vcs_info")
    return f" @ {vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else f" @ {url}"
