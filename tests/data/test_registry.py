from pathlib import Path

import pytest

from emodc.data import SPLITS, dataset_names, open_data


def test_the_names_are_listed_in_order() -> None:
    assert dataset_names() == (
        *("affectnet7", "affectnet8", "ckplus", "csv", "fer2013", "fer2013plus", "fer2013plus8"),
        *("few", "folder", "hf", "rafdb", "rafdb-compound", "sfew", "shortcut", "synthetic"),
    )


@pytest.mark.parametrize("spec", ["", "ferplus", "FER2013:/data", "/data/photos"])
def test_an_unknown_name_is_refused_with_the_accepted_ones(spec: str) -> None:
    with pytest.raises(ValueError, match=r"unknown dataset.*fer2013:PATH.*synthetic\[:count"):
        open_data(spec, "test")


@pytest.mark.parametrize("name", [name for name in dataset_names() if name != "synthetic"])
def test_a_missing_path_is_asked_for(name: str, tmp_path: Path) -> None:
    for spec in (name, f"{name}:"):
        with pytest.raises(ValueError, match=rf"needs a path: {name}:\S*PATH"):
            open_data(spec, "test")
    if name not in ("few", "shortcut"):  # they wrap a dataset that has the path
        with pytest.raises(ValueError, match="missing"):
            open_data(f"{name}:{tmp_path / 'missing'}", "test")


def test_an_unknown_split_is_refused_with_the_accepted_ones() -> None:
    with pytest.raises(ValueError, match="unknown split 'val': train, validation, test"):
        open_data("synthetic", "val")


def test_synthetic_takes_options() -> None:
    data = open_data("synthetic:count=5,seed=3,size=64,color=true", "test")
    assert len(data) == 5
    assert data.image(0).shape == (64, 64, 3)
    assert {open_data("synthetic", split).split for split in SPLITS} == set(SPLITS)


@pytest.mark.parametrize(
    "part", ["12", "count", "count=", "count=x", "count=-1", "colour=true", "color=1"]
)
def test_an_option_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match=f"synthetic: '{part}' is no option; accepted are count"):
        open_data(f"synthetic:{part}", "train")


@pytest.mark.parametrize("name", [name for name in dataset_names() if name != "synthetic"])
@pytest.mark.parametrize(
    "argument", ["~nosuchuser/x", "x" * 300, "a\0b", "\x1b[2J\n", "/dev/zero", "?*[", "-"]
)
def test_any_path_is_refused_in_one_line_that_can_be_printed(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        open_data(f"{name}:{argument}", "test")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("count", ["99999999999999999999", "9" * 5000, "1000001", "0"])
def test_endless_drawn_faces_are_refused(count: str) -> None:
    with pytest.raises(ValueError, match=r"count is|no whole number"):
        open_data(f"synthetic:count={count}", "test")
