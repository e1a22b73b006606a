"""A contact sheet: some images of every class and split on one page, to see what is in them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from emodc.data.face_data import SPLITS
from emodc.data.release import Release

_TILE = 72  # side of an image, in pixels
_GAP = 2
_SPACE = 18  # between splits and around the page
_BLOCK = 8 * (_TILE + _GAP)  # the width of one split: eight images
_HEADER = 34
_TEXT, _SMALL = ImageFont.load_default(17), ImageFont.load_default(13)
_PAPER, _INK, _FAINT, _WARNING = "white", "black", "#666666", "#b00020"


def contact_sheet(release: Release, seed: int = 0) -> Image.Image:
    """Draw up to eight images of every class and split, chosen at random.

    Args:
        release: the dataset.
        seed: another one chooses other images.

    Returns:
        An RGB page: a row for each class, named at the left with its number of images in each
        split, and a column for each split that has images. An image that cannot be read is a
        crossed frame.
    """
    splits = [split for split in SPLITS if len(release.rows(split))]
    names = [_fit(name) for name in release.label_set.classes]
    side = 2 * _SPACE + max(round(_TEXT.getlength(name)) for name in names)
    side = max(side, 2 * _SPACE + round(_SMALL.getlength("validation 000,000")))
    width = side + len(splits) * (_BLOCK + _SPACE)
    page = Image.new("RGB", (width, _HEADER + len(names) * (_TILE + _GAP) + _SPACE), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_SPACE, 8), release.name, _INK, _TEXT)
    for column, split in enumerate(splits):
        rows = release.rows(split)
        left = side + column * (_BLOCK + _SPACE)
        heading = _heading(release, split, int((release.labels[rows] < 0).sum()))
        draw.text((left, 8), heading, _INK, _TEXT)
        for label, name in enumerate(names):
            top = _HEADER + label * (_TILE + _GAP)
            members = rows[release.labels[rows] == label]
            draw.text((_SPACE, top), name, _INK, _TEXT)
            counted = f"{split} {len(members):,}"
            draw.text((_SPACE, top + 22 + 15 * column), counted, _FAINT, _SMALL)
            rng = np.random.default_rng([seed, SPLITS.index(split), label])
            for place, row in enumerate(rng.permutation(members)[: _BLOCK // (_TILE + _GAP)]):
                _paste(page, draw, release, int(row), (left + place * (_TILE + _GAP), top))
    return page


def _heading(release: Release, split: str, unlabeled: int) -> str:
    theirs = release.owners_names.get(split, split)
    heading = split if theirs == split else f"{split} ({theirs})"
    return f"{heading}, {unlabeled:,} more without a label" if unlabeled else heading


def _fit(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}..."


def _paste(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    release: Release,
    row: int,
    corner: tuple[int, int],
) -> None:
    left, top = corner
    try:
        tile = _tile(release.reader(row))
    except ValueError:
        box = (left, top, left + _TILE - 1, top + _TILE - 1)
        draw.rectangle(box, outline=_WARNING)
        draw.line(box, _WARNING)
        draw.line((box[0], box[3], box[2], box[1]), _WARNING)
        return
    page.paste(tile, (left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2))


def _tile(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return an image scaled to fit a tile, its proportions kept."""
    image = Image.fromarray(pixels).convert("RGB")
    scale = _TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
