"""What a detector's network is shown of an image: thumbnails, the image, parts of a long one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emodc.faces.candidates import Candidates
from emodc.faces.nets import MULTIPLE, import_cv2

Network = Callable[[NDArray[np.uint8], float], Candidates]
"""An image (H, W, 3) and a threshold to candidates: `CenterFace` or `YuNet`."""
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 of a part of an image, in whole pixels."""

_THUMBNAILS = ((128, 0), (64, 32))  # longer side and margin, in pixels


@dataclass(frozen=True)
class View:
    """A part of an image, and how large to show it.

    Attributes:
        box: where the part is.
        side: longer side of the part as it is shown, in pixels.
        margin: black pixels around it.
    """

    box: Box
    side: int
    margin: int = 0


def parts(width: int, height: int, working_size: int) -> Iterator[Box]:
    """Cut a long image, such as a panorama, into parts that overlap.

    Shrunk as a whole, a panorama would lose its faces. A part is at most twice as long as the image
    is wide, or as long as `working_size`, and shares a quarter of its length with the next: every
    face up to that size is whole in one of them, and a larger one is seen in the whole image.

    Returns:
        x0, y0, x1, y1 of each; the image itself if it is no longer than a part.
    """
    long, short = max(width, height), min(width, height)
    length = min(long, max(2 * short, working_size))
    count = 1 + -(-(long - length) // max(1, length - length // 4))
    for start in np.linspace(0, long - length, count).astype(int).tolist():
        end = start + length
        yield (start, 0, end, height) if width >= height else (0, start, width, end)


def look(network: Network, image: NDArray[np.uint8], view: View, threshold: float) -> Candidates:
    """Show a view to a network.

    Args:
        network: the detector's.
        image: (H, W, 3) uint8 RGB.
        view: what to show of it.
        threshold: least score in (0, 1).

    Returns:
        Candidates in pixels of the image.
    """
    cv2 = import_cv2()
    x0, y0, x1, y1 = view.box
    part, margin = image[y0:y1, x0:x1], view.margin
    height, width = part.shape[:2]
    scale = view.side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas_w, canvas_h = (-(-(n + 2 * margin) // MULTIPLE) * MULTIPLE for n in size)
    # Black, because that is what the network's own zero padding looks like: a replicated or
    # mirrored border costs ten points of detection rate on FER2013.
    canvas = np.zeros((canvas_h, canvas_w, 3), np.uint8)
    inner = canvas[margin : margin + size[1], margin : margin + size[0]]
    inner[:] = cv2.resize(part, size, interpolation=how)
    boxes, points, scores = network(canvas, threshold)
    factor, corner = np.array([width / size[0], height / size[1]]), np.array([x0, y0])
    boxes = (boxes - margin) * np.tile(factor, 2) + np.tile(corner, 2)
    return boxes, (points - margin) * factor + corner, scores


def glance(
    network: Network, image: NDArray[np.uint8], side: int, threshold: float
) -> list[Candidates]:
    """Show the whole image to a network: as two thumbnails, and with a longer side of `side`."""
    height, width = image.shape[:2]
    whole = (0, 0, width, height)
    views = [View(whole, *thumbnail) for thumbnail in _THUMBNAILS]
    if max(height, width) > 128:
        views.append(View(whole, side))
    return [look(network, image, view, threshold) for view in views]


def closely(
    network: Network,
    image: NDArray[np.uint8],
    boxes: Iterable[Box],
    shown: Callable[[int], int],
    threshold: float,
) -> list[Candidates]:
    """Show parts of an image to a network.

    Args:
        network: the detector's.
        image: (H, W, 3) uint8 RGB.
        boxes: of the parts; what an edge cuts is left to the part beside it.
        shown: from the longer side of a part to that of its view, in pixels.
        threshold: least score in (0, 1).
    """
    height, width = image.shape[:2]
    found = []
    for box in boxes:
        view = View(box, shown(max(box[2] - box[0], box[3] - box[1])))
        seen = look(network, image, view, threshold)
        found.append(_without_cut_faces(seen, box, (0, 0, width, height)))
    return found


def together(candidates: Sequence[Candidates]) -> Candidates:
    """Put the candidates of several views into one list."""
    boxes, points, scores = (np.concatenate(part) for part in zip(*candidates, strict=True))
    return boxes, points, scores


def _without_cut_faces(candidates: Candidates, part: Box, whole: Box) -> Candidates:
    """Leave out what reaches over an edge of a part that is not an edge of the image.

    The part beside it shows that face whole.
    """
    boxes, points, scores = candidates
    inner = np.array(part) != np.array(whole)
    over = np.concatenate([boxes[:, :2] < part[:2], boxes[:, 2:] > part[2:]], axis=1)
    kept = ~(over & inner).any(axis=1)
    return boxes[kept], points[kept], scores[kept]
