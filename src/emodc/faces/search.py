"""How closely a detector looks at an image: the fast way to the same faces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emodc.faces.candidates import Candidates, all_within, merge, wider, widths
from emodc.faces.views import Box, Network, closely, glance, parts, together

_GLANCE = 320  # pixels: longer side of the first, cheap look
_CLEAR = 48  # pixels: faces narrower than that are looked at more closely
_SCOUT_THRESHOLD = 0.5
_NARROWEST = 32  # pixels: of the faces that every network finds


@dataclass(frozen=True)
class Search:
    """Shows an image to a network as often and as large as it takes.

    Attributes:
        network: finds the faces.
        scout: a cheaper network. If it sees no face that a glance at the image missed, the closer
            look is saved. Without one, the closer look is taken always.
        threshold: least score in (0, 1), of the network.
        smallest_face: width in pixels of the image below which no face is wanted.
        working_size: pixels that the longer side of an image, or of a part of a long one, is shown
            with at most.
    """

    network: Network
    scout: Network | None
    threshold: float
    smallest_face: int
    working_size: int

    def __call__(self, image: NDArray[np.uint8]) -> Candidates:
        """Return what the network sees in an image (H, W, 3) RGB, several times or once."""
        height, width = image.shape[:2]
        side = self._shown_side(max(height, width))
        first = side if self.scout is None else min(side, _GLANCE)
        found = glance(self.network, image, first, self.threshold)
        boxes = list(parts(width, height, self.working_size))
        rest = boxes if len(boxes) > 1 else []
        if first < side:
            rest = list(dict.fromkeys([(0, 0, width, height), *boxes]))
        if rest and self._overlooks(image, boxes, together(found), first / max(height, width)):
            found += closely(self.network, image, rest, self._shown_side, self.threshold)
        return together(found)

    def _overlooks(
        self, image: NDArray[np.uint8], boxes: list[Box], found: Candidates, scale: float
    ) -> bool:
        """Tell whether a glance, with the image shrunk by `scale`, may have overlooked faces."""
        if self.scout is None:
            return True
        known = wider(merge(found), self.smallest_face)
        if not len(known[0]) or widths(known).min() * scale < _CLEAR:
            return True
        seen = closely(
            self.scout,
            image,
            boxes,
            lambda long: max(128, self._shown_side(long) * 5 // 8),  # YuNet sees smaller faces
            _SCOUT_THRESHOLD,
        )
        return not all_within(wider(together(seen), self.smallest_face), known)

    def _shown_side(self, long: int) -> int:
        """Return how long a part of the image whose longer side has `long` pixels is shown."""
        side = min(long, self.working_size)
        if self.smallest_face > _NARROWEST:
            side = min(side, max(128, -(-long * _NARROWEST // self.smallest_face)))
        return side
