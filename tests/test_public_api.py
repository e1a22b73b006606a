import subprocess
import sys

import pytest

import emodc


@pytest.mark.parametrize("name", emodc.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(emodc, name)
    assert found.__doc__
    assert name in dir(emodc)


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'EmotionClasifier'"):
        emodc.EmotionClasifier  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import emodc, sys; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
