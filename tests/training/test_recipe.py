from pathlib import Path

import pytest

from emodc.backbones.face_unet import FaceUNetConfig
from emodc.training.recipe import dump_recipe, load_recipe, parse_recipe, recipe_names

MINIMAL = """
name: mine
samples: 100
phases:
  - {share: 0.25, objective: {kind: softmax}}
  - {share: 0.75, objective: {kind: amdit, alpha: 0.2}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_is_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    assert "\n" not in recipe.summary


def test_the_recipes_promised_are_there() -> None:
    assert {"face48", "synthetic-tiny"} <= set(recipe_names())


def test_the_bundled_model_is_trained_with_amdit_for_the_last_half_at_least() -> None:
    share = 0.0
    for phase in reversed(load_recipe("face48").phases):
        if phase.objective.kind != "amdit":
            break
        share += phase.share
    assert share >= 0.5


def test_a_dumped_recipe_reads_back_the_same(file: str, tmp_path: Path) -> None:
    recipe = load_recipe(file)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(str(copy)) == recipe


def test_settings_change_by_dotted_path(file: str) -> None:
    recipe = load_recipe(
        file,
        [
            "samples=7",
            "phases.1.objective.alpha=0.3",
            "model.codec.size=64",
            "model.backbone.widths=[16, 16, 32, 16]",
            "data=folder:/a=b",
        ],
    )
    assert recipe.samples == 7
    assert recipe.phases[1].objective.alpha == 0.3  # type: ignore[union-attr]
    assert recipe.model.codec.size == 64
    assert isinstance(recipe.model.backbone, FaceUNetConfig)
    assert recipe.model.backbone.widths == (16, 16, 32, 16)
    assert recipe.data == "folder:/a=b"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sample=7", "unknown key 'sample'"),
        ("optimizer.rate=1", "unknown key 'optimizer.rate'"),
        ("phases.1.objective.beta=1", "unknown key 'phases.1.objective.beta'"),
        ("model.codec.sise=1", "unknown key 'model.codec.sise'"),
        ("model.backbone.kind=vgg", "model.backbone.kind"),
        ("phases.0.objective.kind=l2", "phases.0.objective"),
        ("samples=many", "samples"),
        ("samples=0", "samples"),
        ("balance=2", "balance"),
        ("precision=int8", "precision"),
        ("phases=[]", "phases"),
        ("phases.0.share=0.5", "shares of the phases sum to 1.25"),
        ("phases.9.share=1", "no such setting"),
        ("phases.first.share=1", "no such setting"),
        ("samples.count=1", "no such setting"),
        ("samples=[", "not readable as YAML"),
        ("samples", "dotted.path=value"),
        ("=3", "dotted.path=value"),
    ],
)
def test_a_wrong_change_is_refused_by_its_path(file: str, override: str, named: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        load_recipe(file, [override])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name: [", "not readable as YAML"),
        ("just words", "mapping"),
        ("", "mapping"),
        ("name: x\nsamples: 1\n", "phases"),
        (MINIMAL + "epochs: 3\n", "unknown key 'epochs'"),
    ],
)
def test_a_wrong_file_is_refused_in_a_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.yaml") as caught:
        load_recipe(str(path))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="face48"):
        load_recipe("face4")
    with pytest.raises(ValueError, match=r"none\.yaml: no such file"):
        load_recipe(str(tmp_path / "none.yaml"))


def test_settings_are_frozen(file: str) -> None:
    recipe = load_recipe(file)
    with pytest.raises(ValueError, match="frozen"):
        recipe.samples = 3


def test_defaults_are_checked_too() -> None:
    recipe = parse_recipe(
        {"name": "x", "samples": 1, "phases": [{"objective": {"kind": "base"}}]}, "x"
    )
    assert recipe.phases[0].share == 1
    assert isinstance(recipe.model.backbone, FaceUNetConfig)
    assert recipe.model.codec.size % (4 * recipe.model.backbone.patch) == 0


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=1000000000",
        "micro_batch=1000000000",
        "samples=9999999999999",
        "model.backbone.widths=[80000, 64, 64, 64]",
        "model.backbone.depths=[100000000, 1, 1]",
        "model.codec.size=80000",
        "model.schedule.timesteps=1000000000",
        "seed=99999999999999999999",
        "validation.images=1000000000",
    ],
)
def test_sizes_are_bounded(override: str) -> None:
    with pytest.raises(ValueError, match=r"at most|less than or equal|64 bits") as caught:
        load_recipe("face48", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"[" * 3000, b"a: !!int ''", b"a: !!bool foo", b"a: 2001-99-99", b"a: &a [*a]", b"\x00", b""],
    ids=repr,
)
def test_a_file_that_is_no_recipe_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.yaml") as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_a_device_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="not a regular file"):
        load_recipe(str(tmp_path / "zero.yaml"))
