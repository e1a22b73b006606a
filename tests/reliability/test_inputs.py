"""Mutated images and annotations: a part in every run of the tests, an hour's worth among the slow.

A case that breaks is repeated by its number: ``CAMPAIGN.try_case(number, seed, Report())``. Other
cases are tried where the environment variable ``RELIABILITY_SEED`` says so.
"""

import contextlib
import os
import random
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

from emodc.data import Release, open_release
from emodc.faces.reading import decode_image, read_image
from emodc.faces.sources import read_source, sources
from emodc.support.parsing import parse_json, parse_yaml
from tests.reliability import images, mutations
from tests.reliability.annotations import (
    SETS,
    Case,
    damaged_annotation,
    layouts,
    write_layouts,
)
from tests.reliability.campaign import Campaign, Report, bounded_memory

SEED = int(os.environ.get("RELIABILITY_SEED", "0"))
SHORT = {"seconds": 9.0, "cases": 1000, "seed": SEED}
LONG = {"seconds": 900.0, "cases": 2500, "seed": SEED}

LENGTHS = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="long", marks=[pytest.mark.slow, pytest.mark.campaign]),
]


def holds(report: Report, least: int = 100) -> None:
    """Fail if a case broke, or if there were too few for the campaign to mean anything."""
    print(report)
    assert not report.broken, "\n".join([str(report), *report.broken[:20]])
    assert report.cases >= least


@pytest.mark.parametrize("extent", LENGTHS)
def test_mutated_images_are_read_or_refused(extent: dict[str, float]) -> None:
    def attempt(content: bytes) -> None:
        rgb = decode_image(content, "image")
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it forgives
        holds(Campaign("images", images.damaged_image, attempt).run(**extent))  # type: ignore[arg-type]


def test_libtiff_prints_nothing_of_damaged_images(capfd: pytest.CaptureFixture[str]) -> None:
    whole = images.whole_image("TIFF", "RGB")
    for number in range(300):
        _, content = mutations.damaged(whole, np.random.default_rng([SEED, number]))
        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decode_image(content, "image")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("extent", LENGTHS)
def test_mutated_annotations_are_read_or_refused(
    extent: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path / "cache"))
    write_layouts(tmp_path)

    def read(release: Release, row: int) -> None:
        assert release.label_set.classes[release.labels[row]]
        with contextlib.suppress(ValueError):  # most of the images are not there
            release.reader(row)

    def attempt(case: Case) -> None:
        root = tmp_path / case.layout
        file = root / case.file
        file.write_bytes(case.content)
        try:
            release = open_release(case.spec.format(root))
            for row in range(min(len(release), 3)):
                read(release, row)
        finally:
            file.write_bytes(layouts()[case.layout][case.file])

    holds(Campaign("annotations", damaged_annotation, attempt).run(**extent))  # type: ignore[arg-type]


_JSON = b'{"a": [1, 2.5, null, true, "x"], "b": {"c": -3e2, "d": "\\u00e9"}, "e": []}'
_YAML = b"a: 1\nb: [x, 2.5, null]\nc:\n  - {d: true, e: 'f'}\n  - 2020\ng: &h text\ni: *h\n"


@pytest.mark.parametrize("extent", LENGTHS)
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_mutated_texts_are_parsed_or_refused(kind: str, extent: dict[str, float]) -> None:
    parse, whole = (parse_json, _JSON) if kind == "json" else (parse_yaml, _YAML)

    def attempt(content: bytes) -> None:
        repr(parse(content.decode(errors="replace"), "file"))

    campaign = Campaign(kind, lambda rng: mutations.damaged(whole, rng), attempt)
    holds(campaign.run(**extent))  # type: ignore[arg-type]


def test_the_undamaged_inputs_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path / "cache"))
    write_layouts(tmp_path)
    for spec, part in SETS.items():
        (layout,) = part
        if layout != "csv":  # whose manifest is one of few landmarks, to be refused
            assert len(open_release(spec.format(tmp_path / layout)))
    for kind in images.FORMATS:
        for mode in images.MODES:
            assert decode_image(images.whole_image(kind, mode), "image").size


def test_strings_of_any_kind_are_items_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    letters = "ab/~*?[]{}!.\0\n\x1b\udcff\u202e :%\\é0"
    for number in range(2000):
        chooser = random.Random(number)
        text = "".join(chooser.choices(letters, k=chooser.randrange(1, 12)))
        if text.lstrip(".").startswith("/") or ".." in text or text.startswith("~"):
            text = f"x{text}"  # no walk through the whole disk
        for source in sources([text]):
            with pytest.raises(ValueError, match=r".") as caught:
                read_source(source)
            assert "\n" not in str(caught.value)
            assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM"])
@pytest.mark.parametrize(
    ("width", "height"), [(100_000_000, 1), (65_500, 65_500), (20_000, 10_000), (65_000, 1_500)]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_promised_sizes_are_not_allocated(
    tmp_path: Path, kind: str, width: int, height: int
) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(images.huge_header(kind, width, height))
    with bounded_memory(), pytest.raises(ValueError, match="bomb: "):
        read_image(path)


_LIMITED = """
    import resource, sys
    resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)
    import numpy as np
    from PIL import Image
    from pathlib import Path
    from emodc.faces.detector import whole_image_crop
    from emodc.faces.reading import read_image
    for shape in ((65_500, 1), (20_000, 5), (1, 65_500)):
        path = Path(sys.argv[1], "strip.jpg")
        Image.new("RGB", shape, "red").save(path)
        assert whole_image_crop(read_image(path), 48).shape == (48, 48, 3)
    Image.new("L", (65_000, 1_500)).save(Path(sys.argv[1], "large.png"))
    Image.new("I;16", (10_000, 9_990)).save(Path(sys.argv[1], "deep.tiff"))
    for name in ("large.png", "deep.tiff"):
        try:
            print(read_image(Path(sys.argv[1], name)).shape)
        except ValueError as error:
            print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.slow
def test_extreme_images_fit_into_little_memory(tmp_path: Path) -> None:
    script = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_LIMITED), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
