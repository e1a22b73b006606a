import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emodc.data import FaceData
from emodc.data.readers.hugging_face import read_hugging_face
from emodc.data.release import Release
from emodc.labels import BASIC7


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 6), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(len(name)))
    return root


def jsonl(folder: Path, *rows: Mapping[str, Any] | str, end: str = "\n") -> Path:
    """Write metadata.jsonl from objects, or from lines as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "metadata.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_bytes(end.join([*lines, ""]).encode())
    return file


def row(name: str, label: object = "happy", **more: object) -> dict[str, object]:
    return {"file_name": name, "label": label, **more}


def class_names(data: FaceData | Release) -> list[str]:
    return [data.label_set.classes[label] if label >= 0 else "" for label in data.labels]


def refusal(root: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_hugging_face(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_split_folders_with_metadata(tmp_path: Path) -> None:
    put(tmp_path, "train/0001.png", "train/deep/2.png", "valid/1.png", "test/0001.png")
    put(tmp_path, "test/extra.png", "test/._x.png", "docs/figure.png")
    (tmp_path / "test" / ".DS_Store").write_text("x")
    jsonl(tmp_path / "train", row("0001.png", subject=7), row("deep/2.png", "Sadness", subject=8))
    jsonl(tmp_path / "valid", row("1.png", "anger", attribute_gender="male", bbox=[1, 2]))
    jsonl(tmp_path / "test", row("0001.png"), row("0002.png", None))
    release = read_hugging_face(tmp_path)
    assert release.name == "hf"
    assert dict(zip(release.ids, class_names(release), strict=True)) == {
        "test/0001.png": "happiness",
        "test/0002.png": "",
        "train/0001.png": "happiness",
        "train/deep/2.png": "sadness",
        "valid/1.png": "anger",
    }
    assert release.label_set.classes == ("happiness", "sadness", "anger")
    assert release.unlisted == ["test/extra.png"]
    train, validation, test = (release.split(s) for s in ("train", "validation", "test"))
    assert train.ids == ["train/0001.png", "train/deep/2.png"]
    assert train.image(1)[0, 0].tolist() == [len("train/deep/2.png"), 0, 0]
    assert validation.attributes == {"gender": ["male"]}
    assert test.ids == ["test/0001.png"]
    subjects = dict(zip(release.ids, release.subjects or [], strict=True))
    assert subjects["train/deep/2.png"] == "8"
    with pytest.raises(ValueError, match=r"0002\.png: no such file"):
        release.reader(list(release.ids).index("test/0002.png"))


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_both_kinds_of_metadata_are_read_alike(tmp_path: Path, name: str, end: str) -> None:
    rows = [("größe, 1.png", "happy"), ("2.png", "sad"), ("3.png", "")]
    if name.endswith("csv"):
        lines = ["file_name,expression,note", *(f'"{file}",{label},x' for file, label in rows)]
    else:
        lines = [json.dumps({"file_name": file, "expression": label}) for file, label in rows]
    (tmp_path / "test").mkdir()
    text = "\ufeff" + end.join([*lines, "", "", ""])
    (tmp_path / "test" / name).write_bytes(text.encode())
    release = read_hugging_face(tmp_path)
    assert release.ids == ["test/größe, 1.png", "test/2.png", "test/3.png"]
    assert class_names(release) == ["happiness", "sadness", ""]


def test_one_metadata_file_lists_the_whole(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "deep/2.png", "deep/3.png")
    jsonl(tmp_path, row("1.png"), row("deep/2.png", "sad"))
    release = read_hugging_face(tmp_path)
    assert release.split("test").ids == ["1.png", "deep/2.png"]
    assert release.unlisted == ["deep/3.png"]
    with pytest.raises(ValueError, match=r"without split folders all images of .* are the test"):
        release.split("train")

    put(tmp_path, "train/1.png", "dev/1.png")
    jsonl(tmp_path, row("train/1.png"), row("dev/1.png", "sad"))
    release = read_hugging_face(tmp_path)
    assert release.splits.tolist() == [0, 1]
    with pytest.raises(ValueError, match="has only dev, train with labels"):
        release.split("test")
    jsonl(tmp_path, row("train/1.png"), row("1.png", "sad"))
    message = refusal(tmp_path)
    assert "metadata.jsonl, line 2: '1.png' must begin with a split folder" in message
    assert "accepted are train, training, validation" in message


@pytest.mark.parametrize("field", ["label", "expression", "emotion", "text-label"])
def test_integers_need_a_class_map(tmp_path: Path, field: str) -> None:
    jsonl(tmp_path / "test", *({"file_name": f"{code}.png", field: code} for code in (0, 3)))
    assert "metadata.jsonl, line 1: '0' is no class" in refusal(tmp_path)
    names = {str(code): name for code, name in enumerate(BASIC7.classes)}
    (tmp_path / "classes.json").write_text(json.dumps(names))
    release = read_hugging_face(tmp_path)
    assert release.label_set is BASIC7
    assert class_names(release) == ["neutral", "sadness"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not readable as JSON"),
        ('["2.png", "sad"]', "expected an object"),
        ({"label": "sad"}, "no file_name"),
        (row(""), "no file_name"),
        (row(None), "no file_name"),  # type: ignore[arg-type]
        ({"file_name": "2.png"}, "no field for the label; there must be one of label, expression"),
        (row("2.png", emotion="sad"), "fields label and emotion for the label; there must be one"),
        (row("2.png", "joyful"), "'joyful' is no class"),
        (row("2.png", ["sad"]), "'label' is ['sad'], but must be text or a number"),
        (row("2.png", True), "'label' is True"),
        (row("1.png", "sad"), "'1.png' is listed already ("),
        (row("a\\2.png", "sad"), "backslashes"),
    ],
)
def test_malformed_metadata_are_refused_by_line(
    tmp_path: Path, line: Mapping[str, Any] | str, says: str
) -> None:
    file = jsonl(tmp_path / "train", row("1.png"), "", line, row("3.png", "sad"))
    message = refusal(tmp_path)
    assert message.startswith(f"{file}, line 3: ")
    assert says in message


def test_metadata_that_are_no_text_or_have_no_row_are_refused(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "train")
    assert f"{file}: no row" in refusal(tmp_path)
    file.write_bytes(b'{"file_name": "1.png", "label": "happy"}\n{"file_name": "\xff.png"}\n')
    assert f"{file}, line 2: not UTF-8 text" in refusal(tmp_path)
    jsonl(tmp_path / "train", row("1.png"))
    assert "1 classes, but telling classes apart takes at least two" in refusal(tmp_path)


def test_layouts_that_cannot_be_understood_are_refused(tmp_path: Path) -> None:
    def tree(name: str, *folders: str) -> Path:
        for folder in folders:
            jsonl(tmp_path / name / folder, row("1.png"), row("2.png", "sad"))
        return tmp_path / name

    assert "no such folder" in refusal(tmp_path / "missing")
    assert "not a folder" in refusal(tree("file", "train") / "train" / "metadata.jsonl")
    (tree("lacking", "train") / "test").mkdir()
    assert "test: no metadata.jsonl or metadata.csv, unlike" in refusal(tmp_path / "lacking")
    assert "'dev' and 'valid' are one split" in refusal(tree("twice", "train", "valid", "dev"))
    assert "keep either the file of the whole" in refusal(tree("nested", "train", "."))
    (tree("both", "train") / "train" / "metadata.csv").write_text("file_name,label\n1.png,sad\n")
    assert "both metadata.jsonl and metadata.csv" in refusal(tmp_path / "both")
    put(tmp_path, "classes/happy/1.png")
    message = refusal(tmp_path / "classes")
    assert "open as folder:PATH" in message
    assert "save_to_disk(...)" in message


def test_a_wrong_root_is_told_the_right_one(tmp_path: Path) -> None:
    right = tmp_path / "downloads" / "faces"
    for split in ("train", "test"):
        jsonl(right / split, row("1.png"), row("2.png", "sad"))
    (right / "docs").mkdir()
    assert f"give {right}, which holds them all" in refusal(right / "train")
    assert f"; give {right};" in refusal(tmp_path / "downloads")
    assert f"; give {right};" in refusal(right / "docs")


def test_what_save_to_disk_wrote_needs_an_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install .*\[hf\]"):
        read_hugging_face(tmp_path)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a dataset by the package itself."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    datasets.disable_progress_bars()

    def save_to_disk(
        labels: Mapping[str, Iterable[object]],
        feature: Callable[[Any], Any],
        name: str = "saved",
        column: str = "image",
        **more: object,
    ) -> Path:
        parts = {}
        for split, values in labels.items():
            values = list(values)
            images = [{"bytes": png(10 + n), "path": f"{n}.png"} for n in range(len(values))]
            features = {column: datasets.Image(), "label": feature(datasets)}
            features |= {field: datasets.Value("string") for field in more}
            columns = {column: images, "label": values}
            columns |= {field: [value] * len(values) for field, value in more.items()}
            parts[split] = datasets.Dataset.from_dict(columns, datasets.Features(features))
        data = parts[""] if "" in parts else datasets.DatasetDict(parts)
        data.save_to_disk(str(tmp_path / name))
        return tmp_path / name

    return save_to_disk


@pytest.mark.parametrize("column", ["image", "face"])
def test_a_saved_dataset_of_several_splits(save: Callable[..., Path], column: str) -> None:
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    root = save(
        {"train": [0, 3, 3], "test": [4, None, -1]},
        lambda datasets: datasets.ClassLabel(names=names),
        column=column,
        subject="S1",
        attribute_gender="female",
        caption="left alone",
    )
    release = read_hugging_face(root)
    assert release.label_set is BASIC7
    assert class_names(release) == ["anger", "happiness", "happiness", "sadness", "", ""]
    assert list(release.ids) == [
        f"{split}/row{n:06d}" for split in ("train", "test") for n in (0, 1, 2)
    ]
    assert release.splits.tolist() == [0, 0, 0, 2, 2, 2]
    assert release.attributes == {"gender": ["female"] * 6}
    assert release.subjects == ["S1"] * 6
    for index, shade in ((0, 10), (2, 12), (3, 10)):
        image = release.reader(index)
        assert image.shape == (6, 4, 3)
        assert image[0, 0].tolist() == [shade, 0, 0]
    assert release.stamp(0) == str(len(png(10)))
    assert f"give {root}, which holds them all" in refusal(root / "train")
    assert f"; give {root};" in refusal(root.parent)


def test_a_single_saved_dataset_is_the_test_split(save: Callable[..., Path]) -> None:
    root = save({"": ["happy", "Sadness", None]}, lambda datasets: datasets.Value("string"))
    release = read_hugging_face(root)
    assert list(release.ids) == ["row000000", "row000001", "row000002"]
    assert class_names(release.split("test")) == ["happiness", "sadness"]
    with pytest.raises(ValueError, match="is a single dataset, whose images are the test split"):
        release.split("train")


def test_saved_integers_and_other_names_need_a_class_map(save: Callable[..., Path]) -> None:
    plain = save({"": [0, 1]}, lambda datasets: datasets.Value("int64"), "plain")
    assert f"{plain}, row000000: '0' is no class" in refusal(plain)
    named = save({"": [1, 0]}, lambda datasets: datasets.ClassLabel(names=["joy", "sad"]), "named")
    assert f"{named}, row000000: 'sad'" not in refusal(named)
    assert "'joy' is no class" in refusal(named)
    (plain / "classes.json").write_text('{"0": "bored", "1": "happy", "2": "fear"}')
    (named / "classes.json").write_text('{"joy": "happiness", "sad": "sadness"}')
    assert class_names(read_hugging_face(plain)) == ["bored", "happiness"]
    assert class_names(read_hugging_face(named)) == ["sadness", "happiness"]


def test_a_saved_image_is_checked_when_it_is_read(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = iter([b"not an image", b"", png(1)[:45]])
    monkeypatch.setitem(globals(), "png", lambda shade: next(images))
    root = save({"test": ["happy", "sad", "sad"]}, lambda datasets: datasets.Value("string"))
    release = read_hugging_face(root)
    for index, says in enumerate(("not an image", "empty", "damaged")):
        with pytest.raises(ValueError, match=rf"saved, test/row00000{index}: .*{says}"):
            release.reader(index)


def test_saved_columns_that_do_not_fit_are_refused(save: Callable[..., Path]) -> None:
    def text(datasets: Any) -> Any:
        return datasets.Value("string")

    datasets = pytest.importorskip("datasets")
    labels = {"": ["happy", "sad"]}
    message = refusal(save(labels, text, "two", emotion="happy"))
    assert "fields label and emotion for the label" in message

    root = save(labels, text, "whole")
    whole = datasets.load_from_disk(str(root))
    whole.remove_columns("label").save_to_disk(str(root.parent / "unlabeled"))
    assert "no field for the label; there must be one of" in refusal(root.parent / "unlabeled")
    whole.remove_columns("image").save_to_disk(str(root.parent / "blind"))
    assert "0 columns of type Image among label" in refusal(root.parent / "blind")
    assert "unknown split 'fold1'; accepted are train" in refusal(
        save({"fold1": ["happy", "sad"]}, text, "folds")
    )
    assert "'val' and 'dev' are one split" in refusal(
        save({"val": ["happy"], "dev": ["sad"]}, text, "twice")
    )


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_a_damaged_saved_dataset_is_refused(save: Callable[..., Path], name: str) -> None:
    root = save({"train": ["happy", "sad"]}, lambda datasets: datasets.Value("string"))
    (root / "train" / name).write_bytes(b"{")
    assert "not readable as a saved dataset" in refusal(root)
    (root / "train" / name).unlink()
    assert "not readable as a saved dataset" in refusal(root)


def test_opening_decodes_no_image(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save({"": ["happy", "sad"]}, lambda datasets: datasets.Value("string"))
    monkeypatch.setattr(Image, "open", lambda *given, **options: pytest.fail("decoded"))
    release = read_hugging_face(root)
    with pytest.raises(pytest.fail.Exception):
        release.reader(0)


def test_a_saved_dataset_reads_no_file_but_its_own(save: Callable[..., Path]) -> None:
    root = save({"": ["happy", "sad"]}, lambda datasets: datasets.Value("string"))
    state = json.loads((root / "state.json").read_text())
    for name in ("../other.arrow", "/etc/passwd", "missing.arrow", 7):
        state["_data_files"] = [{"filename": name}]
        (root / "state.json").write_text(json.dumps(state))
        assert "is no file beside its list" in refusal(root)
    (root / "state.json").unlink()
    (root / "state.json").symlink_to("/dev/zero")
    assert "state.json" in refusal(root) or "no metadata.jsonl" in refusal(root)


@pytest.mark.parametrize("content", ["[" * 50_000, "null", "[]", '{"_data_files": 3}', "1" * 400])
def test_a_saved_dataset_with_odd_json_is_refused(save: Callable[..., Path], content: str) -> None:
    root = save({"": ["happy", "sad"]}, lambda datasets: datasets.Value("string"))
    (root / "state.json").write_text(content)
    assert "not readable as a saved dataset" in refusal(root)


def test_the_id_of_a_dataset_of_the_hub_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        if name != "somebody/faces":
            raise ConnectionError("no\nconnection")
        images = [{"bytes": png(n), "path": None} for n in range(4)]
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["happy", "sad"])}
        part = datasets.Dataset.from_dict(
            {"image": images, "label": [0, 1, 1, 0]}, datasets.Features(features)
        )
        return datasets.DatasetDict({"train": part, "validation": part, "test": part})

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    data = read_hugging_face(Path("somebody/faces")).split("test")
    assert class_names(data) == ["happiness", "sadness", "sadness", "happiness"]
    assert data.image(3).shape[2] == 3
    with pytest.raises(ValueError, match=r"hf:a/b: .*dataset of the Hugging Face hub \(no conn"):
        read_hugging_face(Path("a/b"))
    assert asked == ["somebody/faces", "a/b"]
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no metadata\.jsonl"):
        read_hugging_face(Path("a/b"))
