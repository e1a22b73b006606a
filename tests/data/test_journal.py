from pathlib import Path

import pytest

from emodc.data.journal import Journal, digest_of


def test_a_file_is_finished_if_it_is_entered_and_unchanged(tmp_path: Path) -> None:
    Journal(tmp_path, {"of": "faces"}).add("a/b.png", b"pixels")
    again = Journal(tmp_path, {"of": "faces"})
    assert again.has("a/b.png")
    assert again.digest("a/b.png") == digest_of(b"pixels")
    assert not again.has("a/c.png")
    (tmp_path / "a" / "b.png").write_bytes(b"other")
    assert not again.has("a/b.png")
    (tmp_path / "a" / "b.png").unlink()
    assert not again.has("a/b.png")


def test_half_a_line_is_dropped_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    Journal(tmp_path, {}).add("a.png", b"1")
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write("b.png 1234")
    Journal(tmp_path, {}).add("c.png", b"3")
    again = Journal(tmp_path, {})
    assert [again.has(f"{name}.png") for name in "abc"] == [True, False, True]


def test_a_process_killed_at_the_first_write_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl.part").write_text("{")
    Journal(tmp_path, {})
    assert not (tmp_path / "journal.jsonl.part").exists()


@pytest.mark.parametrize("line", ["", "[1]", "{", '{"size": 48}', "\xff"])
def test_a_journal_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "journal.jsonl").write_text(f"{line}\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"\(size: .* instead of 112\); choose another --output"):
        Journal(tmp_path, {"size": 112})
