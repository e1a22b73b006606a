"""What a detector network sees, and how many answers about one face become one."""

import numpy as np
from numpy.typing import NDArray

Candidates = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Boxes (N, 4) as x0, y0, x1, y1; landmarks (N, 5, 2) as (x, y); scores (N,) in [0, 1]."""

_SAME_FACE = 0.4  # boxes with more of their union in common show the same face
_NESTED = 0.7  # a box with more of its area in common with a better one is a part of that face


def merge(candidates: Candidates) -> Candidates:
    """Reduce the candidates to one for each face, best first.

    Those that overlap much with the best are averaged with it, weighted by score, which makes boxes
    and landmarks steadier than keeping only the best (Bazarevsky et al. 2019, "BlazeFace",
    arXiv 1907.05047, section 3.4); those that lie mostly inside or around it are dropped.

    Returns:
        Candidates with the mean boxes and landmarks and the best score of each group.
    """
    boxes, points, scores = candidates
    order = np.argsort(-scores, kind="stable")
    best: list[int] = []
    means: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    while order.size:
        shared, areas = _overlaps(boxes[order[0]], boxes[order])
        same = shared > _SAME_FACE * (areas[0] + areas - shared)
        same[0] = True  # even where the best box has no area
        group = order[same]
        weights = scores[group] / scores[group].sum()
        means.append((weights @ boxes[group], np.tensordot(weights, points[group], axes=1)))
        best.append(int(group[0]))
        order = order[~same & (shared <= _NESTED * np.minimum(areas[0], areas))]
    if not best:
        return candidates
    mean_boxes, mean_points = (np.stack(part) for part in zip(*means, strict=True))
    return mean_boxes, mean_points, scores[best]


def widths(candidates: Candidates) -> NDArray[np.float64]:
    """Return the widths (N,) of the boxes in pixels."""
    return candidates[0][:, 2] - candidates[0][:, 0]


def wider(candidates: Candidates, least: float) -> Candidates:
    """Leave out what is narrower than `least` pixels."""
    kept = widths(candidates) >= least
    boxes, points, scores = candidates
    return boxes[kept], points[kept], scores[kept]


def all_within(seen: Candidates, known: Candidates) -> bool:
    """Tell whether every box of `seen` has its center in one of `known`."""
    center = (seen[0][:, None, :2] + seen[0][:, None, 2:]) / 2  # (N, 1, 2)
    inside = (center >= known[0][:, :2]) & (center <= known[0][:, 2:])  # (N, M, 2)
    return bool(np.all(np.any(np.all(inside, axis=2), axis=1)))


def _overlaps(
    box: NDArray[np.float64], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas (N,) that `box` (4,) shares with `boxes` (N, 4), and the areas of those."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return np.maximum(sides, 0).prod(axis=1), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
