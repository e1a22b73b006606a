"""From images to expressions: reading, finding faces, cropping, classifying.

    classifier = EmotionClassifier.from_pretrained("face48")
    for row in classifier.predict("photos/*.jpg"):
        print(row.file, row.box, row.label, row.probabilities)

An image can hold any number of faces, none, or be damaged; each case gives rows that say so.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emodc.explain.evidence import score_pixels
from emodc.explain.explanation import Explanation
from emodc.faces.arrays import Pixels
from emodc.faces.detector import FaceDetector
from emodc.faces.sources import Source, SourceImage, read_source, source_name, sources
from emodc.inference.looking import FoundFace, Waiting, find_faces, one_face
from emodc.inference.prediction import Prediction
from emodc.inference.scorer import DEFAULT_STEPS, Answers, Scorer, Scoring, check_options
from emodc.model.model import Model
from emodc.model.store import load_model, save_model
from emodc.support.devices import choose_device

DEFAULT_MODEL = "face48"

_BATCH = 16  # rows scored together: enough to fill the network's calls, little to hold in memory


class EmotionClassifier:
    """Classifies the expressions in images with a trained model.

    An instance must not be used by two threads at once.

    Args:
        model: what `emodc.model.store.load_model` returned.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._detector: FaceDetector | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        precision: str = "fp32",
    ) -> "EmotionClassifier":
        """Load a model by name, from a folder or from the Hugging Face hub.

        Args:
            name_or_dir: see `emodc.model.store.load_model`.
            device: see `emodc.support.devices.choose_device`.
            precision: see `emodc.model.model.Model`.

        Raises:
            ValueError: there is no such model, device or precision, or the model is damaged.
        """
        return cls(load_model(name_or_dir, choose_device(device), precision))

    def __repr__(self) -> str:
        return f"EmotionClassifier({self.model!r})"

    @property
    def classes_(self) -> tuple[str, ...]:
        """The names of the classes, in label order."""
        return self.model.label_set.classes

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model so that `from_pretrained` reads it back.

        Raises:
            OSError: the folder cannot be written.
        """
        save_model(self.model, Path(folder))

    def predict(
        self,
        images: SourceImage | Iterable[SourceImage],
        *,
        from_crops: bool = False,
        progress: Callable[[int, int], None] | None = None,
        **scoring: Unpack[Scoring],
    ) -> list[Prediction]:
        """Classify every face in one or many images.

        Args:
            images: one or several of: path of a file, of a folder (its images, not those in the
                folders inside), or glob pattern (``**`` for any depth); PIL image; uint8 array,
                (H, W, 3) RGB or (H, W) gray. An array (N, H, W, 3) is N images.
            from_crops: every image is a face crop already; otherwise the faces are found, aligned
                and cropped.
            progress: called with the numbers of images done and of all.
            **scoring: `steps`, `delta`, `budget` and `seed`; see `emodc.inference.scorer.Scoring`.

        Returns:
            The rows in the order of the images; at least one for each.

        Raises:
            ValueError: an empty folder, a pattern without match, an array of another shape or
                dtype, or `steps`, `delta` or `budget` that cannot be had. A single unreadable file
                is a row, not an error.
            ImportError: faces are looked for and the extra `faces` is not installed.
        """
        found = list(sources(images))
        rows = []
        for row in self.iter_predict(found, from_crops=from_crops, **scoring):
            rows.append(row)
            if progress is not None:
                progress(row.image + 1, len(found))
        return rows

    def iter_predict(
        self,
        images: SourceImage | Iterable[SourceImage],
        *,
        from_crops: bool = False,
        **scoring: Unpack[Scoring],
    ) -> Iterator[Prediction]:
        """Do what `predict` does, row by row: one image at a time is held in memory.

        Args:
            images: as for `predict`; an iterator is read as the rows are asked for.
            from_crops: as for `predict`.
            **scoring: as for `predict`.

        Raises:
            ValueError: as for `predict`; what concerns an image, when its turn comes.
            ImportError: as for `predict`.
        """
        check_options(scoring, "from_crops")
        scorer = Scorer(self.model, **scoring)
        return self._stream(sources(images), scorer, self._finder(from_crops))

    def predict_proba(
        self,
        images: SourceImage | Iterable[SourceImage],
        *,
        from_crops: bool = False,
        **scoring: Unpack[Scoring],
    ) -> NDArray[np.float64]:
        """Return class probabilities, as scikit-learn's classifiers do.

        Args:
            images: as for `predict`.
            from_crops: as for `predict`.
            **scoring: as for `predict`.

        Returns:
            (R, K), for the R rows of `predict`: one for each face. Rows sum to 1, columns are in
            the order of `classes_`.

        Raises:
            ValueError: as for `predict`, or an image cannot be read or has no face, which leaves
                nothing to put in its row.
            ImportError: as for `predict`.
        """
        found = []
        for row in self.iter_predict(images, from_crops=from_crops, **scoring):
            if row.probabilities is None:
                name = f"image {row.image}" if row.file is None else row.file
                raise ValueError(
                    f"{name}: {row.error}: it has no probabilities; leave it out, or call "
                    "predict, whose rows say what is wrong with an image"
                )
            found.append(list(row.probabilities.values()))
        return np.array(found).reshape(len(found), len(self.classes_))

    def class_errors(
        self, crops: Sequence[Pixels], *, steps: int = DEFAULT_STEPS, seed: int = 0
    ) -> Tensor:
        """Return the noise-prediction errors behind a prediction (Li et al., ICCV 2023).

        Args:
            crops: N face crops, uint8, each (H, W) gray or (H, W, 3) RGB.
            steps: S, the number of draws.
            seed: of the draws.

        Returns:
            (N, K, S) float32 on the CPU: the error under class k with draw s, averaged over the
            elements of x0. `emodc.inference.scorer.plain_answers` turns it into probabilities.

        Raises:
            ValueError: a crop has another dtype or shape, or `steps` is outside 1..T.
        """
        return Scorer(self.model, steps=steps, seed=seed).errors(self._encode(crops))

    def explain(
        self,
        image: SourceImage,
        *,
        label: str | None = None,
        against: str | None = None,
        face: int = 0,
        from_crops: bool = False,
        steps: int | None = None,
        seed: int = 0,
    ) -> Explanation:
        """Show where in a face the evidence for one expression against another lies.

        Args:
            image: one, of what `predict` takes.
            label: class to explain; the most probable one if not given.
            against: class to compare it with; the most probable other one if not given.
            face: number of the face, from 0, largest first.
            from_crops: as for `predict`.
            steps: draws, all of which count; see `emodc.explain.evidence.score_pixels`.
            seed: of the draws.

        Raises:
            ValueError: the image cannot be read, is several or has no such face, or as for
                `emodc.explain.evidence.score_pixels` and for unknown classes.
            ImportError: faces are looked for and the extra `faces` is not installed.
        """
        pixels, chosen = one_face(image, face, self.model, self._finder(from_crops))
        scored = score_pixels(self.model, self._encode([chosen.crop]), steps=steps, seed=seed)
        evidence = scored.evidence(label, against)
        return Explanation(
            evidence=evidence,
            image=pixels,
            to_map=chosen.to_crop * (len(evidence.map) / len(chosen.crop)),
            geometry=self.model.geometry,
            model=self.model.name,
            file=chosen.file,
            face=face,
            box=chosen.box,
        )

    def _finder(self, from_crops: bool) -> FaceDetector | None:
        """Return what finds faces; refused before any image is read."""
        if from_crops:
            return None
        self.model.require_geometry()
        self._detector = self._detector or FaceDetector()
        return self._detector

    def _encode(self, crops: Sequence[Pixels]) -> Tensor:
        return self.model.settings.codec.encode(crops, self.model.device)

    def _stream(
        self, images: Iterable[Source], scorer: Scorer, detector: FaceDetector | None
    ) -> Iterator[Prediction]:
        waiting: list[Waiting] = []
        for index, source in enumerate(images):
            waiting += self._look(index, source, detector)
            if len(waiting) >= _BATCH:
                yield from self._scored(waiting, scorer)
                waiting = []
        yield from self._scored(waiting, scorer)

    def _look(self, index: int, source: Source, detector: FaceDetector | None) -> list[Waiting]:
        """Return the faces of an image, or the row that says why it has none."""
        file = source_name(source)
        try:
            faces = find_faces(index, file, read_source(source), self.model, detector)
        except ValueError as error:
            return [Prediction(index, file, "unreadable", str(error))]
        except MemoryError:
            reason = f"{file or 'image'}: takes more memory than there is; make a smaller copy"
            return [Prediction(index, file, "unreadable", reason)]
        return list(faces) or [Prediction(index, file, "no_face", "no face found")]

    def _scored(self, rows: Sequence[Waiting], scorer: Scorer) -> Iterator[Prediction]:
        faces = [row for row in rows if isinstance(row, FoundFace)]
        answered = iter(self._answered(faces, scorer))
        yield from (next(answered) if isinstance(row, FoundFace) else row for row in rows)

    def _answered(self, faces: Sequence[FoundFace], scorer: Scorer) -> list[Prediction]:
        if not faces:
            return []
        answers = scorer(self._encode([face.crop for face in faces]))
        return [self._row(face, answers, number) for number, face in enumerate(faces)]

    def _row(self, face: FoundFace, answers: Answers, number: int) -> Prediction:
        p = dict(zip(self.classes_, answers.probabilities[number].tolist(), strict=True))
        least, gap_error = answers.least_probability, float(answers.gap_error[number])
        return Prediction(
            image=face.image,
            file=face.file,
            status="ok",
            face=face.number,
            box=face.box,
            landmarks=face.landmarks,
            detection_score=face.score,
            label=max(p, key=p.__getitem__),
            probabilities=p,
            prediction_set=None if least is None else tuple(k for k in p if p[k] >= least),
            trunk_passes=int(answers.draws[number]),
            prompt_evaluations=int(answers.evaluations[number]),
            gap_standard_error=None if math.isnan(gap_error) else gap_error,
        )
