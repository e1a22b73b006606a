import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from emodc.inference.classifier import EmotionClassifier
from emodc.inference.prediction import Prediction
from emodc.inference.prediction_list import SHOWN, Predictions
from emodc.inference.records import image_columns
from emodc.model.model import Model


def crop(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)


@pytest.fixture
def rows(tiny_model: Model, tmp_path: Path) -> Predictions:
    """A crop, one in a file with an odd name, and a file that is damaged."""
    odd = tmp_path / "<b>&.png"
    Image.fromarray(crop(1)).save(odd)
    (tmp_path / "bad.png").write_text("no image")
    classifier = EmotionClassifier(tiny_model)
    return classifier.predict([crop(0), odd, tmp_path / "bad.png"], from_crops=True, steps=1)


def test_it_is_a_list_of_rows(rows: Predictions) -> None:
    assert isinstance(rows, list)
    assert [row.status for row in rows] == ["ok", "ok", "unreadable"]


def test_pandas_gets_the_columns_of_the_csv(rows: Predictions, tiny_model: Model) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the extra tables")
    table = rows.to_pandas()
    assert list(table.columns) == list(image_columns(tiny_model.label_set.classes))
    assert table["label"].tolist()[:2] == [rows[0].label, rows[1].label]
    shares = table[list(tiny_model.label_set.classes)].iloc[:2]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert pandas.isna(table["face"].iloc[2])
    assert str(table["face"].dtype) == "Int64"
    empty = Predictions([], tiny_model.label_set.classes).to_pandas()
    assert list(empty.columns) == list(table.columns)


def test_notebooks_show_faces_answers_and_reasons(rows: Predictions) -> None:
    page = rows._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 2
    assert str(rows[0].label) in page
    assert "not an image" in page
    assert "<b>&.png" not in page
    assert "&lt;b&gt;&amp;.png" in page


def test_notebooks_show_a_first_part_of_many_rows(tiny_model: Model) -> None:
    many = EmotionClassifier(tiny_model).predict(
        [crop(n % 3) for n in range(SHOWN + 5)], from_crops=True, steps=1
    )
    page = many._repr_html_()
    assert len(re.findall("<tr><td>", page)) == SHOWN
    assert "and 5 more rows" in page


def test_what_cannot_be_read_again_has_no_face(tiny_model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(crop(0)).save(path)
    rows = EmotionClassifier(tiny_model).predict(path, from_crops=True, steps=1)
    path.unlink()
    assert "<img" not in rows._repr_html_()


def test_terminals_show_a_table(rows: Predictions) -> None:
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rows)
    shown = console.export_text()
    assert str(rows[0].label) in shown
    assert "cannot be read" in shown


def test_rows_can_be_made_by_hand() -> None:
    rows = Predictions([Prediction(0, "a.jpg", "no_face", "no face found")], ["x"])
    assert "no face found" in rows._repr_html_()
