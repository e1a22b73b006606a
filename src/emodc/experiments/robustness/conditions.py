"""What the faces are shown under: unchanged, corrupted, or along a sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emodc.corruptions import CORRUPTIONS, SEQUENCES, SUITES, corrupt, sequence
from emodc.faces.geometry import CropGeometry

SEQUENCE_SUITE = "rafdb-p"
"""The suite of sequences; the others consist of corruptions."""

SUITE_NAMES = (*SUITES, SEQUENCE_SUITE)
"""Every suite."""


@dataclass(frozen=True)
class Condition:
    """One way in which every face is shown.

    Attributes:
        kind: ``clean``, ``corruption`` or ``sequence``.
        name: of the corruption or sequence; ``clean`` otherwise.
        severity: 1..5 of a corruption, else 0.
        frames: images shown of each face.
    """

    kind: Literal["clean", "corruption", "sequence"]
    name: str
    severity: int = 0
    frames: int = 1

    @property
    def file(self) -> str:
        """The name under which results are kept, without the seed."""
        return f"{self.kind}-{self.name}" + (f"-{self.severity}" if self.severity else "")

    @property
    def identity(self) -> dict[str, str]:
        """What, beside the faces and the seed, decides the images."""
        level = CORRUPTIONS[self.name].levels[self.severity - 1] if self.severity else None
        return {"level of the corruption": repr(level), "number of frames": str(self.frames)}

    def show(
        self, image: NDArray[np.uint8], seed: int, index: int, geometry: CropGeometry
    ) -> list[NDArray[np.uint8]]:
        """Return the images of one face, `frames` of them, at its native resolution.

        Args:
            image: the face crop, uint8 gray or RGB.
            seed: of what is random.
            index: the face's number in its dataset.
            geometry: where the crop shows eyes and mouth.
        """
        if self.kind == "clean":
            return [image]
        if self.kind == "corruption":
            return [corrupt(image, self.name, self.severity, seed, index, geometry)]
        return list(sequence(image, self.name, self.frames, seed, index))


CLEAN = Condition("clean", "clean")
"""The faces as they are."""


def conditions_of(
    suites: Sequence[str], severities: Sequence[int], frames: int
) -> tuple[Condition, ...]:
    """Return the conditions of suites, each once, after `CLEAN`.

    Args:
        suites: of `SUITE_NAMES`; may be none.
        severities: of the corruptions, 1..5.
        frames: of the sequences, 2..60.

    Raises:
        ValueError: a suite or severity is not known, or there is no severity.
    """
    if unknown := [name for name in suites if name not in SUITE_NAMES]:
        raise ValueError(f"unknown suite '{unknown[0]}': known are {', '.join(SUITE_NAMES)}")
    if not severities or any(severity not in range(1, 6) for severity in severities):
        given = ", ".join(map(str, severities)) or "none"
        raise ValueError(f"severities are among 1, 2, 3, 4, 5, not {given}")
    found = [CLEAN]
    for suite in suites:
        if suite == SEQUENCE_SUITE:
            found += [Condition("sequence", name, frames=frames) for name in SEQUENCES]
        else:
            found += [
                Condition("corruption", name, severity)
                for name in SUITES[suite]
                for severity in sorted(severities)
            ]
    return tuple(dict.fromkeys(found))
