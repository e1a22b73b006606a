from pathlib import Path
from typing import Any

import pytest
import torch

from emodc.support.results import Result, load_result, save_result
from emodc.support.tensors import pack_tensors

IDENTITY = {"weights": "12ab", "steps": "4"}
RESULT = Result({"errors": torch.arange(6.0).view(2, 3)}, {"seconds": 0.1, "skipped": [[3, "ä"]]})
WANTED: Any = (("errors",), ("seconds", "skipped"))


def test_a_result_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.safetensors"
    assert load_result(file, IDENTITY, *WANTED) is None
    save_result(file, RESULT, IDENTITY)
    found = load_result(file, IDENTITY, *WANTED)
    assert found is not None
    assert found.facts == RESULT.facts
    assert torch.equal(found.tensors["errors"], RESULT.tensors["errors"])


def test_a_result_without_a_hash_is_read(tmp_path: Path) -> None:
    """As earlier versions kept them."""
    file = tmp_path / "a.safetensors"
    facts = {"seconds": "0.1", "skipped": '[[3, "ä"]]'}
    file.write_bytes(pack_tensors(RESULT.tensors, IDENTITY | facts))
    found = load_result(file, IDENTITY, *WANTED)
    assert found is not None
    assert found.facts == RESULT.facts


def test_what_belongs_to_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_result(file, RESULT, IDENTITY)
    with pytest.raises(ValueError, match="another weights, another seed; choose another output"):
        load_result(file, {"weights": "34cd", "steps": "4", "seed": "1"}, *WANTED)


@pytest.mark.parametrize("name", ["errors", "seconds"])
def test_what_lacks_a_part_is_damaged(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tensors = {key: value for key, value in RESULT.tensors.items() if key != name}
    save_result(file, Result(tensors or {"x": torch.ones(1)}, {"skipped": []}), IDENTITY)
    with pytest.raises(ValueError, match=r"a.safetensors: damaged; delete it"):
        load_result(file, IDENTITY, *WANTED)


def test_a_flipped_bit_of_a_number_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_result(file, RESULT, IDENTITY)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load_result(file, IDENTITY, *WANTED)


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_result(tmp_path / "a", Result({}, {"seconds": float("nan")}), IDENTITY)
    assert not list(tmp_path.iterdir())
