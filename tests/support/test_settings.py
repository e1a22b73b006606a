import math
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import Tag

from emodc.support.settings import Settings, checked, kind_or, kinds


@dataclass(frozen=True)
class Round:
    kind: str = "round"
    radius: float = 1.0


@dataclass(frozen=True)
class Square:
    kind: str = "square"
    side: float = 1.0


Shape = Annotated[
    Annotated[Round, Tag("round")] | Annotated[Square, Tag("square")], kind_or("round")
]


class Drawing(Settings):
    shape: Shape = Round()
    scale: float = 1.0


def drawing(values: Any) -> Drawing:
    return checked(Drawing, values, "a.yaml", {"shape": kinds(Shape)})


def test_the_kind_picks_the_variant_and_may_be_left_out() -> None:
    assert kinds(Shape) == ("round", "square")
    assert drawing({"shape": {"kind": "square", "side": 2}}).shape == Square(side=2.0)
    assert drawing({"shape": {"radius": 3}}).shape == Round(radius=3.0)
    assert drawing({}) == Drawing()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"size": 1}, "a.yaml: unknown key 'size'"),
        ({"shape": {"side": 1}}, "a.yaml: unknown key 'shape.side'"),
        ({"shape": {"kind": "square", "radius": 1}}, "a.yaml: unknown key 'shape.radius'"),
        ({"shape": {"kind": "star"}}, "a.yaml: shape.kind: star is none of 'round', 'square'"),
        ({"scale": math.nan}, "a.yaml: scale: Input should be a finite number"),
        ({"shape": {"radius": math.inf}}, "a.yaml: shape.radius: Input should be a finite number"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(values: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        drawing(values)


def test_a_message_is_one_short_line_whatever_the_values_hold() -> None:
    for kind in ("a\nb", "\x1b[2J", "x" * 5000, [0.5] * 3000):
        with pytest.raises(ValueError, match=r"shape\.kind") as caught:
            drawing({"shape": {"kind": kind}})
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500
    with pytest.raises(ValueError, match=r"; 995 more$"):
        drawing({f"key{number}": 1 for number in range(1000)})
