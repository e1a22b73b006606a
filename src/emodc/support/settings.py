"""What all settings have in common: they are frozen, checked, and refused in one line."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError

from emodc.support.files import one_line
from emodc.support.text import shortened

S = TypeVar("S", bound="Settings")

_TOLD = 5  # problems named in a message


class Settings(BaseModel):
    """Settings that refuse unknown keys and non-finite numbers.

    Pydantic holds dataclasses among the fields to the same, so they need not know of it.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def kind_or(default: str) -> Discriminator:
    """Pick the variant by ``kind``, which older files and short recipes leave out."""

    def kind(value: Any) -> str:
        named = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        return default if named is None else str(named)

    return Discriminator(kind)


def kinds(union: Any) -> tuple[str, ...]:
    """Return what ``kind`` can be: by the variants of ``Annotated[A | B, ...]``, tagged or not."""
    variants = get_args(get_args(union)[0])
    return tuple((get_args(variant) or (variant,))[0].kind for variant in variants)


def checked(
    settings: type[S], values: Any, source: str, variants: Mapping[str, Collection[str]]
) -> S:
    """Check values and freeze them.

    Args:
        settings: what they are settings of.
        values: a mapping.
        source: names them in error messages.
        variants: what ``kind`` can be, by the name of the field.

    Raises:
        ValueError: a key or value is wrong; the message has the dotted path.
    """
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        told = [shortened(one_line(_describe(each, variants)), 300) for each in problems[:_TOLD]]
        if len(problems) > _TOLD:
            told.append(f"{len(problems) - _TOLD:,} more")
        raise ValueError(f"{source}: {'; '.join(told)}") from None


def _describe(problem: Any, variants: Mapping[str, Collection[str]]) -> str:
    # Pydantic puts the chosen variant into the location; users wrote no such key.
    where = problem["loc"]
    path = ".".join(
        str(part)
        for i, part in enumerate(where)
        if not (i and part in variants.get(where[i - 1], ()))
    )
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key '{path}'"
    if problem["type"] == "union_tag_invalid":
        return f"{path}.kind: {problem['ctx']['tag']} is none of {problem['ctx']['expected_tags']}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
