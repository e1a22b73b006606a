"""The command ``emodc predict``: faces in photographs, videos and before cameras.

This file holds the options; `emodc.cli.predict_images` and `emodc.cli.predict_video` do the work.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emodc.cli.options import (
    Adaptive,
    Budget,
    Classes,
    DetectionThreshold,
    Detector,
    Device,
    Html,
    ModelName,
    OptionalDelta,
    Precision,
    Prior,
    Seed,
    SmallestFace,
    WorkingSize,
    chosen_classes,
    chosen_delta,
)

if TYPE_CHECKING:
    from emodc.inference.classifier import EmotionClassifier

STANDARD_OUTPUT = "-"


class PredictCommand(OptionalDelta):
    """Lets ``--csv``, ``--json`` and ``--webcam`` stand alone or be followed by a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put a value after each of them that has none."""
        given = list(args)
        end = args.index("--") if "--" in args else len(args)
        for place in range(end):
            following = args[place + 1] if place + 1 < end else ""
            if args[place] == "--webcam" and not following.isdecimal():
                given[place] = "--webcam=0"
            for option in ("--csv", "--json"):
                if args[place] == option and not following.lower().endswith(f".{option[2:]}"):
                    given[place] = f"{option}={STANDARD_OUTPUT}"
        return super().parse_args(ctx, given)


def _seconds(text: str) -> float:
    """Read a time: seconds, or minutes and hours before colons."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 3 or any(value < 0 for value in values):
        raise ValueError(f"'{text}' is no time: give seconds, m:ss or h:mm:ss")
    return sum((value * 60.0**place for place, value in enumerate(reversed(values))), 0.0)


Table = Annotated[
    str | None,
    typer.Option("--csv", metavar="[FILE.csv]", help="Write CSV, row by row as faces are done."),
]
Listing = Annotated[
    str | None, typer.Option("--json", metavar="[FILE.json]", help="Write a list of objects.")
]


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="Images, folders of images or glob patterns; or one video."
        ),
    ] = None,
    model: ModelName = "face48",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Exactly this many draws of (t, eps) per face; in a video, per face and frame "
            "(4 if not given). [default: early stopping as with --adaptive if the model is "
            "calibrated, else 20]"
        ),
    ] = None,
    adaptive: Adaptive = None,
    budget: Budget = None,
    seed: Seed = 0,
    prior: Prior = None,
    classes: Classes = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Detect faces, or treat every image as a face crop."
        ),
    ] = True,
    detector: Detector = "centerface",
    detection_threshold: DetectionThreshold = None,
    smallest_face: SmallestFace = 0,
    working_size: WorkingSize = 1024,
    as_json: Listing = None,
    as_csv: Table = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Write a Parquet table.")
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|VIDEO",
            help="Write the images into a folder, or the video, with the faces marked.",
        ),
    ] = None,
    html: Html = None,
    vtt: Annotated[
        Path | None, typer.Option(metavar="FILE.vtt", help="Video: write WebVTT subtitles.")
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg|png", help="Video: draw the probabilities over time."),
    ] = None,
    webcam: Annotated[
        int | None,
        typer.Option(metavar="[N]", help="Watch camera N, 0 if not given, until interrupted."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Video: only every n-th frame.")] = 1,
    fps: Annotated[
        float | None, typer.Option(help="Video: at most so many frames a second.")
    ] = None,
    start: Annotated[
        str, typer.Option(metavar="TIME", help="Video: from here on; seconds or h:mm:ss.")
    ] = "0",
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Video: up to here; likewise.")
    ] = None,
    detect_every: Annotated[
        int | None,
        typer.Option(min=1, help="Video: frames between detections; faces are tracked. [5]"),
    ] = None,
    half_life: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Video: evidence of earlier frames counts half after this time; 0: frames on "
            "their own. [0.2]",
        ),
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(
            metavar="ALPHA",
            help="Reject faces unlike those that the model knows, and at most this share of those "
            "like them. 0 only tells how typical each face is.",
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Classify the expression of every face in images, a video or before a camera.

    Every face gets a row. An image that has no face or cannot be read gets a row that says so, as
    does a frame of a video without a face. Interrupted with a video, the same command goes on.
    """
    if as_json == as_csv == STANDARD_OUTPUT:
        raise ValueError("give --json or --csv, not both; one of them can have a file")
    from emodc.cli.outputs import Outputs, is_video

    def load() -> "EmotionClassifier":
        from emodc.faces.detector import FaceDetector
        from emodc.inference.classifier import EmotionClassifier

        finder = None
        if detect:
            finder = FaceDetector(
                detector,
                threshold=detection_threshold,
                smallest_face=smallest_face,
                working_size=working_size,
            )
        return EmotionClassifier.from_pretrained(
            model,
            device,
            precision,
            prior=prior,
            classes=chosen_classes(classes),
            detector=finder,
        )

    outputs = Outputs(as_csv, as_json, parquet, overlay, vtt, timeline, html)
    given = list(paths or ())
    if webcam is None and not given:
        raise typer.BadParameter("give an image, a folder, a pattern or a video, or --webcam")
    if webcam is not None and given:
        raise ValueError(f"--webcam or {given[0]}, not both")
    videos = [path for path in given if is_video(path)]
    if webcam is None and not videos:
        from emodc.cli.predict_images import predict_images

        outputs.for_images()
        predict_images(
            given,
            outputs,
            load,
            from_crops=not detect,
            reject=reject,
            steps=steps,
            delta=chosen_delta(adaptive),
            budget=budget,
            seed=seed,
        )
        return
    from emodc.cli.predict_video import predict_video

    if len(given) > 1:
        raise ValueError(f"{videos[0]}: give one video and nothing else; run the command for each")
    if reject is not None or html is not None:
        raise ValueError("--reject and --html are for images")
    if not detect or adaptive is not None or budget is not None:
        raise ValueError("--no-detect, --adaptive and --budget are for images; a video has --steps")
    options: dict[str, Any] = {
        **{"every": every, "rate": fps, "seed": seed},
        **{"start": _seconds(start), "end": None if end is None else _seconds(end)},
        **{"detect_every": detect_every, "draws": steps, "half_life": half_life},
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    source = videos[0] if webcam is None else webcam
    predict_video(source, outputs, load, chosen)
