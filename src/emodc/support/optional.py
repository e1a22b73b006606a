"""Optional dependencies: what to install where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(extra: str, purpose: str) -> Iterator[None]:
    """Say which extra to install if an import inside the block fails.

    Args:
        extra: its name in ``pip install 'emodc[...]'``.
        purpose: what needs it.

    Raises:
        ImportError: a module is missing; one line with the remedy.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{purpose} needs {error.name}, which is not installed: pip install 'emodc[{extra}]'"
        ) from None
