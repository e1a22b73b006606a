"""A page of images that a model draws: a row for each class."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from emodc.explain.generate import generate, interpolate
from emodc.model.identity import weights_hash
from emodc.model.model import Model
from emodc.support.parsing import open_regular, parse_json
from emodc.support.timing import Progress, unheard

SAMPLES = "samples.png"
"""The page beside a model's card."""

_CARD_COLUMNS, _CARD_TILE = 6, 64  # keep it below 200 kB
_CARD_GUIDANCE = 4.0  # faces are nearer to real ones than with less (docs/training-notes.md)
_LEAST_TILE = 96  # pixels: smaller images are enlarged
_GAP, _SPACE = 2, 10
_WAY = 7  # rows of an interpolation
_TEXT = ImageFont.load_default(15)
_FACTS = "emodc"  # what the page holds, in its metadata


def sample_sheet(
    model: Model,
    classes: Sequence[str],
    count: int,
    *,
    steps: int,
    guidance: float = 1.0,
    sampler: str = "ddim",
    seed: int = 0,
    tile: int | None = None,
    progress: Progress = unheard,
) -> bytes:
    """Draw images of some classes.

    Args:
        model: draws them.
        classes: names or aliases; a row each.
        count: images of each class; those of a column begin with the same noise.
        steps: see `emodc.explain.generate.generate`.
        guidance: likewise.
        sampler: likewise.
        seed: likewise.
        tile: side of an image on the page; its own, if not given, at least 96.
        progress: see `emodc.explain.generate.generate`.

    Returns:
        A PNG, gray if the images are, else of 256 colors where ``tile`` is given. Its metadata
        says how it was made.

    Raises:
        ValueError: see `emodc.explain.generate.generate`; or a class is not the model's.
    """
    prompts = [model.label_set.index(name) for name in classes]
    x0 = generate(
        model,
        prompts,
        count,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        seed=seed,
        progress=progress,
    )
    names = [model.label_set.classes[prompt] for prompt in prompts]
    facts = {
        "classes": names,
        "steps": steps,
        "guidance": guidance,
        "sampler": sampler,
        "seed": seed,
    }
    return _sheet(model, names, x0, facts, tile)


def interpolation_sheet(
    model: Model,
    first: str,
    second: str,
    count: int,
    *,
    steps: int,
    guidance: float = 1.0,
    sampler: str = "ddim",
    seed: int = 0,
    progress: Progress = unheard,
) -> bytes:
    """Draw the way from one class to another, from top to bottom; a column is one noise.

    Args:
        model: draws it.
        first: name or alias.
        second: name or alias.
        count: columns.
        steps: see `emodc.explain.generate.interpolate`.
        guidance: likewise.
        sampler: likewise.
        seed: likewise.
        progress: likewise.

    Returns:
        A PNG; its metadata says how it was made.

    Raises:
        ValueError: see `emodc.explain.generate.interpolate`; or a class is not the model's.
    """
    start, end = model.label_set.index(first), model.label_set.index(second)
    x0 = interpolate(
        model,
        start,
        end,
        [row / (_WAY - 1) for row in range(_WAY)],
        count,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        seed=seed,
        progress=progress,
    )
    names = model.label_set.classes
    between = [f"{row / (_WAY - 1):.0%} {names[end]}" for row in range(1, _WAY - 1)]
    facts = {
        "interpolate": [names[start], names[end]],
        "steps": steps,
        "guidance": guidance,
        "sampler": sampler,
        "seed": seed,
    }
    return _sheet(model, [names[start], *between, names[end]], x0, facts, None)


def card_samples(model: Model, steps: int) -> bytes:
    """Return the page of all classes that goes with a model's card."""
    return sample_sheet(
        model,
        model.label_set.classes,
        _CARD_COLUMNS,
        steps=steps,
        guidance=_CARD_GUIDANCE,
        tile=_CARD_TILE,
    )


def _sheet(
    model: Model, names: Sequence[str], x0: Tensor, facts: dict[str, Any], tile: int | None
) -> bytes:
    """Return a page of x0 (P, N, C, H, W), a row for each name."""
    images = model.settings.codec.decode(x0.flatten(0, 1))  # (P * N, H, W[, 3])
    page = _page(names, images.reshape(*x0.shape[:2], *images.shape[1:]), tile)
    if tile is not None and page.mode == "RGB":
        page = page.quantize(256)
    return _png(page, {"model": model.name, "weights_sha256": weights_hash(model), **facts})


def facts_of(path: Path, model: Model) -> dict[str, Any] | None:
    """Return how a page was made: classes, steps, guidance, seed.

    Args:
        path: the page.
        model: whose it should be.

    Returns:
        None if there is no such page, or these weights did not draw it.
    """
    try:
        with open_regular(path) as file, Image.open(file) as page:
            facts = parse_json(page.info[_FACTS], str(path))
        return dict(facts) if facts["weights_sha256"] == weights_hash(model) else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _page(names: Sequence[str], images: NDArray[np.uint8], tile: int | None) -> Image.Image:
    """Lay out images (P, N, H, W) gray or (P, N, H, W, 3) RGB, a row named at the left each."""
    rows, columns, height = images.shape[:3]
    side = tile or height * max(1, -(-_LEAST_TILE // height))  # a whole multiple
    left = 2 * _SPACE + max(round(_TEXT.getlength(name)) for name in names)
    step = side + _GAP
    mode = "L" if images.ndim == 4 else "RGB"
    page = Image.new(mode, (left + columns * step, rows * step), "white")
    draw = ImageDraw.Draw(page)
    for row, name in enumerate(names):
        draw.text((_SPACE, row * step + side // 2), name, "black", _TEXT, anchor="lm")
        for column in range(columns):
            image = Image.fromarray(images[row, column])
            if side != height:
                image = image.resize((side, side), Image.Resampling.BICUBIC)
            page.paste(image, (left + column * step, row * step))
    return page


def _png(page: Image.Image, facts: dict[str, Any]) -> bytes:
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text(_FACTS, json.dumps(facts))
    file = io.BytesIO()
    page.save(file, "PNG", pnginfo=metadata, optimize=True)
    return file.getvalue()
