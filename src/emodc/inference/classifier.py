"""From images to expressions: reading, finding faces, cropping, classifying.

    classifier = EmotionClassifier.from_pretrained("face48")
    for row in classifier.predict("photos/*.jpg"):
        print(row.file, row.box, row.label, row.probabilities)

An image can hold any number of faces, none, or be damaged; each case gives rows that say so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.explain.evidence import score_pixels
from emodc.explain.explanation import Explanation
from emodc.faces.arrays import Pixels
from emodc.faces.detector import FaceDetector
from emodc.faces.frames import Footage
from emodc.faces.sources import SourceImage, sources
from emodc.inference.answering import answer_rows
from emodc.inference.estimator import TrainedEstimator
from emodc.inference.explaining import chosen_face
from emodc.inference.face_crops import face_crops, nothing_to_tell
from emodc.inference.prediction import Prediction, VideoPrediction
from emodc.inference.prediction_list import SHOWN, Predictions
from emodc.inference.scorer import DEFAULT_STEPS, Scorer, Scoring, check_options
from emodc.inference.typicality import check_rejection
from emodc.inference.video import VideoAnalysis, VideoOptions, VideoSettings, open_footage
from emodc.model.label_shift import with_prior
from emodc.model.model import Model
from emodc.model.store import load_model, save_model
from emodc.support.devices import choose_device

DEFAULT_MODEL = "face48"


class EmotionClassifier(TrainedEstimator):
    """Classifies the expressions in images with a trained model.

    Threads may share an instance, and it can be pickled and copied. In a process that was forked
    after a model was loaded see `emodc.support.forks`.

    Args:
        model: what `emodc.model.store.load_model` returned.
        prior: how frequent the classes are where the images come from, in place of the model's own
            prior: ``training``, ``uniform``, ``balanced-power=P``, the file that ``emodc adapt``
            wrote, or shares by class name; see `emodc.model.label_shift.with_prior`.
        classes: names of the classes to choose from; all if not given.
        detector: finds the faces; a `FaceDetector` with its defaults if not given.

    Raises:
        ValueError: the prior or a class is unknown, or the model does not know its own.
    """

    def __init__(
        self,
        model: Model,
        *,
        prior: str | Mapping[str, float] | None = None,
        classes: Sequence[str] | None = None,
        detector: FaceDetector | None = None,
    ) -> None:
        self.model = with_prior(model, prior, classes)
        self._detector = detector

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        precision: str = "fp32",
        *,
        prior: str | Mapping[str, float] | None = None,
        classes: Sequence[str] | None = None,
        detector: FaceDetector | None = None,
    ) -> "EmotionClassifier":
        """Load a model by name, from a folder or from the Hugging Face hub.

        Args:
            name_or_dir: see `emodc.model.store.load_model`.
            device: see `emodc.support.devices.choose_device`.
            precision: see `emodc.model.model.Model`.
            prior: see `EmotionClassifier`.
            classes: see `EmotionClassifier`.
            detector: see `EmotionClassifier`.

        Raises:
            ValueError: there is no such model, device, precision, prior or class, or the model is
                damaged.
        """
        model = load_model(name_or_dir, choose_device(device), precision)
        return cls(model, prior=prior, classes=classes, detector=detector)

    def __repr__(self) -> str:
        return f"EmotionClassifier({self.model!r})"

    @property
    def classes_(self) -> tuple[str, ...]:
        """The names of the classes that it chooses from, in label order."""
        return self.model.answers.classes

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
        reject: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        **scoring: Unpack[Scoring],
    ) -> Predictions:
        """Classify every face in one or many images.

        Args:
            images: one or several of: path of a file, of a folder (its images, not those in the
                folders inside), or glob pattern (``**`` for any depth); PIL image; uint8 array,
                (H, W, 3) RGB or (H, W) gray. An array (N, H, W, 3) is N images.
            from_crops: every image is a face crop already; otherwise the faces are found, aligned
                and cropped.
            reject: alpha: faces are rejected as ``atypical`` if their `Prediction.typicality` is
                below it; of faces like those of training, at most this share. 0 rejects none, but
                tells how typical each is. It takes a calibrated diffusion model.
            progress: called with the numbers of images done and of all.
            **scoring: `steps`, `delta`, `budget` and `seed`; see `emodc.inference.scorer.Scoring`.

        Returns:
            The rows in the order of the images; at least one for each. They are a list with
            `Predictions.to_pandas`, which notebooks show with the faces.

        Raises:
            ValueError: an empty folder, a pattern without match, an array of another shape or
                dtype, or `steps`, `delta` or `budget` that cannot be had. A single unreadable file
                is a row, not an error.
            ImportError: faces are looked for and the extra `faces` is not installed.
            RuntimeError: torch cannot compute in this process, which was forked.
        """
        found = list(sources(images))
        rows = []
        for row in self.iter_predict(found, from_crops=from_crops, reject=reject, **scoring):
            rows.append(row)
            if progress is not None:
                progress(row.image + 1, len(found))
        shown = {row.image: found[row.image] for row in rows[:SHOWN]}
        return Predictions(rows, self.classes_, shown)

    def iter_predict(
        self,
        images: SourceImage | Iterable[SourceImage],
        *,
        from_crops: bool = False,
        reject: float | None = None,
        **scoring: Unpack[Scoring],
    ) -> Iterator[Prediction]:
        """Do what `predict` does, row by row: one image at a time is held in memory.

        Args:
            images: as for `predict`; an iterator is read as the rows are asked for.
            from_crops: as for `predict`.
            reject: as for `predict`.
            **scoring: as for `predict`.

        Raises:
            ValueError: as for `predict`; what concerns an image, when its turn comes.
            ImportError: as for `predict`.
            RuntimeError: as for `predict`.
        """
        check_options(scoring, "from_crops", "reject")
        if reject is not None:
            check_rejection(self.model, reject)
        scorer = Scorer(self.model, **scoring)
        # Refused before any image is read.
        detector = None if from_crops else self._require_detector()
        return answer_rows(self.model, sources(images), scorer, detector, reject)

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
            RuntimeError: as for `predict`.
        """
        found = []
        for row in self.iter_predict(images, from_crops=from_crops, **scoring):
            if row.probabilities is None:
                raise nothing_to_tell(row, "probabilities")
            found.append(list(row.probabilities.values()))
        return np.array(found).reshape(len(found), len(self.classes_))

    def embed(
        self, images: SourceImage | Iterable[SourceImage], *, from_crops: bool = False
    ) -> NDArray[np.float32]:
        """Return features of faces, from which the network reads their classes.

        Faces that look alike to the network have features that lie close together.

        Args:
            images: as for `predict`.
            from_crops: as for `predict`.

        Returns:
            (R, E), for the R rows of `predict`: one for each face.

        Raises:
            ValueError: as for `predict_proba`, or the network has no such features.
            ImportError: as for `predict`.
        """
        detector = None if from_crops else self._require_detector()
        found = []
        for index, source in enumerate(sources(images)):
            for face in face_crops(self.model, detector, index, source):
                if isinstance(face, Prediction):
                    raise nothing_to_tell(face, "features")
                with torch.inference_mode():
                    found.append(self.model.embed(self._encode([face.crop])).cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    def predict_video(
        self, source: str | Path | int | Footage, **options: Unpack[VideoOptions]
    ) -> Iterator[VideoPrediction]:
        """Classify the faces in a video, person by person and frame by frame.

        Args:
            source: path of a video file, or the number of a camera, 0 for the first.
            **options: `every`, `rate`, `start`, `end`, `detect_every`, `draws`, `half_life` and
                `seed`; see `emodc.inference.video.VideoOptions`.

        Returns:
            An iterator: rows come while the video is read, which may be of any length.

        Raises:
            ValueError: the video cannot be read, or an option is out of range.
            TypeError: an option is unknown.
            ImportError: the extra ``video`` is not installed.
        """
        settings = VideoSettings.of(options)
        analysis = self.video_analysis(open_footage(source), settings)
        return (row for rows in analysis.batches() for row in rows)

    def video_analysis(self, footage: Footage, settings: VideoSettings) -> VideoAnalysis:
        """Return what goes through a video and can be interrupted; see `predict_video`.

        Raises:
            ValueError: a setting is out of range.
            ImportError: the extra ``faces`` is not installed.
        """
        return VideoAnalysis(self.model, self._require_detector(), footage, settings)

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
        detector = None if from_crops else self._require_detector()
        chosen = chosen_face(image, face, self.model, detector)
        scored = score_pixels(self.model, self._encode([chosen.crop]), steps=steps, seed=seed)
        evidence = scored.evidence(label, against)
        return Explanation(
            evidence=evidence,
            image=chosen.image,
            to_map=chosen.to_crop * (len(evidence.map) / len(chosen.crop)),
            geometry=self.model.geometry,
            model=self.model.name,
            file=chosen.file,
            face=face,
            box=chosen.box,
        )

    def _require_detector(self) -> FaceDetector:
        self.model.require_geometry()
        self._detector = self._detector or FaceDetector()
        return self._detector

    def _encode(self, crops: Sequence[Pixels]) -> Tensor:
        return self.model.settings.codec.encode(crops, self.model.device)
