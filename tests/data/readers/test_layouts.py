"""Every layout in miniature, with images that all differ, passes `emodc data check`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.data import open_release

DRAWN = open_release("synthetic:count=60,size=48").split("train")
SEVEN = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


class Images:
    """Writes another drawn face under each name."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def put(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DRAWN.image(self.count)).convert("RGB").save(path)
        self.count += 1

    def write(self, name: str, *lines: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


def rafdb(p: Images, part: str = "basic", classes: int = 7) -> None:
    names = [(f"{s}_{i:05d}", i) for s in ("train", "test") for i in range(1, classes + 1)]
    p.write(f"{part}/EmoLabel/list_patition_label.txt", *(f"{n}.jpg {c}" for n, c in names))
    for name, _ in names:
        p.put(f"{part}/Image/aligned/{name}_aligned.jpg")


def repack(p: Images) -> None:
    for split in ("train", "test"):
        for code in range(1, 8):
            p.put(f"DATASET/{split}/{code}/{split}_{code:05d}_aligned.jpg")


def sfew(p: Images) -> None:
    for folder in ("Train/Train_Aligned_Faces", "Val/Val_Aligned_Faces_new"):
        for number, name in enumerate(SEVEN):
            film = "Airheads" if folder.startswith("Train") else "Babel"
            p.put(f"{folder}/{name}/{film}_000519240_{number:08d}.png")


def affectnet_csv(p: Images) -> None:
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks"
    for split in ("training", "validation"):
        rows = [f"1/{split}{code}.jpg,2,2,40,40,1;2,{code},0.1,0.2" for code in range(8)]
        p.write(f"{split}.csv", f"{header},expression,valence,arousal", *rows)
        for code in range(8):
            p.put(f"Manually_Annotated_Images/1/{split}{code}.jpg")


def affectnet_npy(p: Images) -> None:
    for split in ("train_set", "val_set"):
        for code in range(8):
            p.put(f"{split}/images/{code}.jpg")
            file = p.root / split / "annotations" / f"{code}_exp.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, np.array(str(code)))


def ckplus(p: Images) -> None:
    for subject in range(5, 15):
        take = f"S{subject:03d}/001"
        for frame in range(1, 5):
            p.put(f"cohn-kanade-images/{take}/S{subject:03d}_001_{frame:08d}.png")
        name = f"S{subject:03d}_001_00000004_emotion.txt"
        p.write(f"Emotion/{take}/{name}", f"   {subject % 7 + 1}.0000000e+00")


def hf(p: Images) -> None:
    for split in ("train", "test"):
        rows = [{"file_name": f"{i}.png", "label": name.lower()} for i, name in enumerate(SEVEN)]
        p.write(f"{split}/metadata.jsonl", *map(json.dumps, rows))
        for row in rows:
            p.put(f"{split}/{row['file_name']}")


def listed(p: Images) -> None:
    rows = [(f"{s}{i}.png", n, s) for s in ("train", "test") for i, n in enumerate(SEVEN)]
    p.write("faces.csv", "path,label,split", *(",".join(row) for row in rows))
    for name, _, _ in rows:
        p.put(name)


LAYOUTS: dict[str, tuple[str, Callable[[Images], None]]] = {
    "rafdb": ("rafdb:{}", rafdb),
    "rafdb re-pack": ("rafdb:{}/DATASET", repack),
    "rafdb-compound": ("rafdb-compound:{}", lambda p: rafdb(p, "compound", 11)),
    "sfew": ("sfew:{}", sfew),
    "affectnet7, csv": ("affectnet7:{}", affectnet_csv),
    "affectnet8, csv": ("affectnet8:{}", affectnet_csv),
    "affectnet7, npy": ("affectnet7:{}", affectnet_npy),
    "ckplus": ("ckplus:{}", ckplus),
    "hf": ("hf:{}", hf),
    "csv": ("csv:{}/faces.csv", listed),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sound_miniature_passes(layout: str, tmp_path: Path) -> None:
    spec, build = LAYOUTS[layout]
    build(Images(tmp_path))
    answer = CliRunner().invoke(app, ["data", "check", spec.format(tmp_path), "--json"])
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["ok"]
    assert report["unreadable"] == []
    assert report["splits"]["train"]["total"] > 0
    assert report["splits"]["test"]["total"] > 0


def test_a_model_of_other_classes_is_evaluated_on_rafdb_by_name(
    tiny_folder: Path, tmp_path: Path
) -> None:
    rafdb(Images(tmp_path))
    attributes = tmp_path / "basic" / "Annotation" / "manual"
    attributes.mkdir(parents=True)
    for code in range(1, 8):
        lines = ["1 2"] * 5 + [str(code % 2), "0", "2"]
        (attributes / f"test_{code:05d}_manu_attri.txt").write_text("\n".join(lines) + "\n")
    arguments = ["evaluate", "--model", str(tiny_folder), "--data", f"rafdb:{tmp_path}"]
    answer = CliRunner().invoke(app, [*arguments, "--steps", "2", "--json"])
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["n_images"] == 7
    assert [row["support"] for row in report["per_class"].values()] == [1] * 7
    groups = report["groups"]["gender"]
    assert {value: row["n_images"] for value, row in groups.items()} == {"female": 4, "male": 3}
