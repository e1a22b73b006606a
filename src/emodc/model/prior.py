"""Class priors: what a model learnt of how frequent classes are, and what users ask in its place.

A diffusion classifier models p(x | c). How frequent each class is where the photos come from is for
the user to say: the posterior under the prior q is ``p(c | x) q_c / e_c`` up to a constant, with
the effective prior e that training left in the errors.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from emodc.labels import LabelSet, canonical_name
from emodc.support.files import one_line
from emodc.support.parsing import read_json
from emodc.support.settings import Settings
from emodc.support.text import printable, shortened

Share = Annotated[float, Field(ge=0, le=1)]
_Shares = Annotated[tuple[Share, ...], Field(min_length=2, max_length=1000)]

SPELLINGS = "training, uniform, effective, balanced-power=P, FILE.json or happiness=0.5,neutral=0.5"
"""How users write a prior."""

PRIOR_KEY = "prior"
"""Where a file has the shares, by class name."""

_POWER = "balanced-power="
_SLACK = 1e-3  # by which shares that people write may miss 1
_MOST_POWER = 2.0


class ClassPrior(Settings):
    """The priors of a model, each in label order; they sum to 1.

    Attributes:
        training: class shares of the labels that it was trained on.
        effective: the prior in its errors: what class balancing and negatives by frequency left of
            the training prior, as measured on validation data, or as the recipe has it.
        nats: evidence, in nats, of a unit of the errors.
        asked: the prior of the answers; None: the effective one.
    """

    training: _Shares
    effective: _Shares
    nats: PositiveFloat
    asked: _Shares | None = None

    @model_validator(mode="after")
    def _are_priors(self) -> "ClassPrior":
        for name in ("training", "effective", "asked"):
            shares = getattr(self, name)
            if shares is None:
                continue
            if len(shares) != len(self.training):
                raise ValueError(f"{name} has {len(shares)} shares, training {len(self.training)}")
            if abs(sum(shares) - 1) > _SLACK or (name != "asked" and min(shares) <= 0):
                raise ValueError(f"{name} must hold shares above 0 that sum to 1")
        return self

    @property
    def answered(self) -> tuple[float, ...]:
        """The prior that the answers have."""
        return self.effective if self.asked is None else self.asked

    def handicap(self) -> Tensor:
        """Return what to add to the mean errors, ``(log e_c - log q_c) / nats``: (K,) float64.

        Infinite for a class that cannot occur.
        """
        effective = torch.tensor(self.effective, dtype=torch.float64)
        answered = torch.tensor(self.answered, dtype=torch.float64)
        return (effective.log() - answered.log()) / self.nats


def smoothed_shares(counts: Sequence[float]) -> tuple[float, ...]:
    """Return class shares from counts of images, none of them 0: each class half an image more."""
    total = sum(counts) + 0.5 * len(counts)
    return tuple((count + 0.5) / total for count in counts)


def parse_prior(
    prior: str | Mapping[str, float], label_set: LabelSet, known: ClassPrior
) -> tuple[float, ...]:
    """Return the shares that a user asks for, in label order.

    Args:
        prior: as in `SPELLINGS`, or shares by class name; classes that are not named cannot occur.
            With power P, the training shares to the power 1 - P: 0 is the training prior, 1 the
            uniform one.
        label_set: the K classes.
        known: the model's priors.

    Raises:
        ValueError: it is none, names an unknown class, or its shares do not sum to 1.
        OSError: the file cannot be read.
    """
    if not isinstance(prior, str):
        return _shares(prior, label_set, "prior")
    if prior == "training":
        return known.training
    if prior == "effective":
        return known.effective
    if prior == "uniform":
        return (1 / len(label_set),) * len(label_set)
    if prior.startswith(_POWER):
        return _balanced(prior, known.training)
    if prior.endswith(".json"):
        return _shares(read_prior(Path(prior)), label_set, printable(prior))
    if "=" not in prior:
        raise ValueError(f"unknown prior '{prior}': give {SPELLINGS}")
    pairs: dict[str, float] = {}
    for part in prior.split(","):
        name, _, share = part.partition("=")
        if canonical_name(name) in pairs:
            raise ValueError(f"prior '{prior}' names {name.strip()} twice")
        pairs[canonical_name(name)] = _number(share, prior)
    return _shares(pairs, label_set, f"prior '{prior}'")


def read_prior(file: Path) -> Mapping[str, float]:
    """Return the shares in a file as `emodc adapt` writes it, by class name.

    Raises:
        ValueError: it cannot be read or holds something else; the message names it.
    """
    try:
        content = read_json(file.expanduser())
    except ValueError as error:
        raise ValueError(f"{one_line(error)}; give a file that emodc adapt wrote") from None
    shares = content.get(PRIOR_KEY) if isinstance(content, dict) else None
    if not isinstance(shares, dict):
        raise ValueError(
            f'{printable(str(file))}: not a prior: give {{"{PRIOR_KEY}": {{"happiness": 0.5, '
            "...}}, as emodc adapt writes it"
        )
    return shares


def _balanced(prior: str, training: Sequence[float]) -> tuple[float, ...]:
    power = _number(prior.removeprefix(_POWER), prior)
    if not 0 <= power <= _MOST_POWER:
        raise ValueError(f"prior '{prior}': P is a number from 0 (training) over 1 (uniform) to 2")
    weights = [share ** (1 - power) for share in training]
    return tuple(weight / sum(weights) for weight in weights)


def _number(text: str, prior: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"prior '{prior}': '{text.strip()}' is no number; give {SPELLINGS}")
    return value


def _shares(given: Mapping[str, Any], label_set: LabelSet, source: str) -> tuple[float, ...]:
    shares = [0.0] * len(label_set)
    names = [canonical_name(name) for name in label_set.classes]
    for name, share in given.items():
        key = canonical_name(str(name))
        if key not in names:
            raise ValueError(
                f"{source}: unknown class '{shortened(printable(str(name)), 100)}': the model "
                f"tells {', '.join(label_set.classes)} apart"
            )
        plain = isinstance(share, int | float) and not isinstance(share, bool)
        if not plain or not 0 <= share <= 1:
            raise ValueError(f"{source}: the share of {key} must be a number from 0 to 1")
        shares[names.index(key)] = float(share)
    total = sum(shares)
    if abs(total - 1) > _SLACK:
        raise ValueError(f"{source}: the shares sum to {total:.4g}, but must sum to 1")
    return tuple(share / total for share in shares)
