"""Small datasets of every layout, each with one of its annotation files damaged."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.reliability.mutations import damaged

SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "csv:{}/data.csv": {"csv": ("data.csv", "classes.json", "manifest.json")},
    "folder:{}": {"folder": ("classes.json",)},
    "hf:{}": {"hf": ("metadata.jsonl", "classes.json")},
    "fer2013plus:{}": {"fer": ("fer2013.csv", "fer2013new.csv")},
    "rafdb:{}": {"raf": ("basic/EmoLabel/list_patition_label.txt",)},
    "affectnet7:{}": {"affectcsv": ("training.csv", "validation.csv")},
    "affectnet8:{}": {"affectnpy": ("train_set/annotations/0_exp.npy",)},
    "ckplus:{}": {"ck": ("Emotion/S005/001/S005_001_00000004_emotion.txt",)},
    "sfew:{}": {"sfew": ("faceless.txt",)},
}
"""By specification: the layout and which of its files are damaged."""


@dataclass(frozen=True)
class Case:
    """A dataset with one damaged file.

    Attributes:
        spec: what `emodc.data.open_release` takes, with ``{}`` for the folder.
        layout: which of the layouts of `write_layouts`.
        file: the damaged file, below the folder.
        content: what it holds.
    """

    spec: str
    layout: str
    file: str
    content: bytes


def damaged_annotation(rng: np.random.Generator) -> tuple[str, Case]:
    """Return a name and a dataset with a damaged file; for `campaign.Campaign`."""
    spec = list(SETS)[int(rng.integers(len(SETS)))]
    ((layout, files),) = SETS[spec].items()
    file = files[int(rng.integers(len(files)))]
    how, content = damaged(layouts()[layout][file], rng)
    return f"{spec} {file}: {how}", Case(spec, layout, file, content)


@cache
def layouts() -> Mapping[str, Mapping[str, bytes]]:
    """Return the files of every layout: by layout and path, their content."""
    image = _image()
    folders = {f"{name}/1.png": image for name in ("1", "2", "happy")}
    classes = json.dumps({"1": "surprise", "2": "fear", "happy": "happy"}).encode()
    points = {name: [0.5, 0.5] for name in ("left_eye", "right_eye", "nose")}
    npy = {
        f"{part}/annotations/{i}_exp.npy": _npy(str(i))
        for part in ("train_set", "val_set")
        for i in (0, 1)
    }
    return {
        "csv": {
            "data.csv": b"path,label,split,subject,attribute_age\n1.png,happy,train,a,20\n"
            b'"2.png",sad,val,b,30\n3.png,,test,,\n4.png,fear,test,c,""\n',
            "classes.json": json.dumps({k: k for k in ("happy", "sad", "fear")}).encode(),
            "manifest.json": json.dumps({"terms": "none", "geometry": points}).encode(),
            "1.png": image,
        },
        "folder": {**folders, "classes.json": classes},
        "hf": {
            "metadata.jsonl": b'{"file_name": "1.png", "label": "1"}\n'
            b'{"file_name": "2.png", "label": 2, "subject": "x"}\n'
            b'{"file_name": "3.png", "label": null}\n',
            "classes.json": classes,
            "1.png": image,
        },
        "fer": {"fer2013.csv": _fer(), "fer2013new.csv": _votes()},
        "raf": {
            "basic/EmoLabel/list_patition_label.txt": b"train_00001.jpg 5\ntrain_00002.jpg 1\n"
            b"test_0001.jpg 4\n",
            "basic/Image/aligned/train_00001_aligned.jpg": image,
        },
        "affectcsv": {
            "training.csv": _affect(3),
            "validation.csv": _affect(2, "v"),
            "Manually_Annotated_Images/1/x0.jpg": image,
        },
        "affectnpy": {**npy, "train_set/images/0.jpg": image, "val_set/images/0.jpg": image},
        "ck": {
            **{f"cohn-kanade-images/S005/001/S005_001_0000000{i}.png": image for i in range(1, 5)},
            "Emotion/S005/001/S005_001_00000004_emotion.txt": b"   3.0000000e+00\n",
        },
        "sfew": {
            **{
                f"{split}/{name}/Film_000000001_00000001.png": image
                for split in ("Train", "Val")
                for name in ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
            },
            "faceless.txt": b"# none\nTrain/Sad/Film_000000001_00000001.png\n",
        },
    }


def write_layouts(root: Path) -> None:
    """Write every layout undamaged, each into a folder of its name."""
    for layout, files in layouts().items():
        for name, content in files.items():
            path = root / layout / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _image() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    return stream.getvalue()


def _fer() -> bytes:
    rows = ["emotion,pixels,Usage"]
    for code, usage in ((0, "Training"), (3, "PublicTest"), (6, "PrivateTest")):
        rows.append(f"{code},{' '.join([str(code)] * 48 * 48)},{usage}")
    return "\n".join(rows).encode()


def _votes() -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    votes = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
    table.writerow(["Usage", "Image name", *votes, "unknown", "NF"])
    for usage in ("Training", "PublicTest", "PrivateTest"):
        table.writerow([usage, "fer.png", 9, 1, *[0] * 8])
    return text.getvalue().encode()


def _affect(rows: int, prefix: str = "x") -> bytes:
    lines = (f"1/{prefix}{i}.jpg,0,0,8,8,1.5;2.5,{i % 7},0.1,0.2" for i in range(rows))
    return ("\n".join(lines) + "\n").encode()


def _npy(value: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(value))
    return stream.getvalue()
