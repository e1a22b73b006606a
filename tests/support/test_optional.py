from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from emodc.support import optional
from emodc.support.optional import importing, install_command


class Installed:
    """A distribution that was installed from somewhere."""

    def __init__(self, origin: str | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin


def test_a_missing_module_is_named_with_purpose_and_remedy() -> None:
    with (
        pytest.raises(ImportError, match=r"^drawing needs nosuchmodule, which .*\[figures\]"),
        importing("figures", "drawing"),
    ):
        import nosuchmodule  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ImportError, match=r"^cannot open"), importing("figures", "drawing"):
        raise ImportError("cannot open libGL.so.1")  # installed, but broken: another remedy


def test_a_checkout_is_installed_again_with_the_extra() -> None:
    root = Path(__file__).parents[2]
    assert install_command("faces") == f'pip install -e "{root}[faces]"'


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (None, "emodc[faces]"),
        ('{"url": "file:///a/b", "dir_info": {}}', "emodc[faces] @ file:///a/b"),
        (
            '{"url": "https://x.org/e", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}',
            "emodc[faces] @ git+https://x.org/e@12ab",
        ),
    ],
)
def test_the_extra_comes_from_where_the_package_did(
    origin: str | None, requirement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "_checkout", lambda: None)
    monkeypatch.setattr(optional, "distribution", lambda name: Installed(origin))
    assert install_command("faces") == f'pip install "{requirement}"'


def test_a_copy_that_was_never_installed_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(optional, "_checkout", lambda: None)
    monkeypatch.setattr(optional, "distribution", nowhere)
    assert install_command("sd") == 'pip install "emodc[sd]"'
