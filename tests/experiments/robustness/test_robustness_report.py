import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from emodc.corruptions import SEQUENCES, SUITES
from emodc.experiments.robustness import AttackPlan, Comparison
from emodc.experiments.robustness.charts import heat_map
from emodc.experiments.robustness.conditions import CLEAN
from emodc.experiments.robustness.output import write_report
from emodc.experiments.robustness.summary import summarize_results
from emodc.experiments.robustness.tables import attack_text, eps_text, robustness_markdown
from emodc.reports.figures import save_figure
from tests.experiments.robustness.conftest import Memory, faces, remembering
from write_robustness import PAGE, kept_reports, rewritten


def model(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (model for model in report["models"] if model["name"] == name)
    return dict(found)


def test_figures_of_two_subjects_whose_answers_are_known(compared: Comparison) -> None:
    """One knows clean faces and no other, one answers neutral: 2 of 14 faces, 1 class of 7."""
    report = summarize_results(compared.results)
    knows, neutral = model(report, "knows"), model(report, "neutral")
    assert report["baseline"] == "neutral"
    assert knows["clean"]["accuracy"] == 1
    assert knows["clean"]["difference"] == pytest.approx(12 / 14)
    assert "difference" not in neutral["clean"]
    # Severity 2 of a 16-pixel face may leave a few as they were.
    corrupted = knows["corrupted"]
    assert corrupted["accuracy"] < 0.3
    assert neutral["corrupted"]["accuracy"] == pytest.approx(1 / 7)
    assert neutral["corrupted"]["mean_class_accuracy"] == pytest.approx(1 / 7)
    assert neutral["corrupted"]["relative_drop"] == pytest.approx(0)
    assert corrupted["relative_drop"] == pytest.approx(1 - corrupted["accuracy"])
    assert neutral["corrupted"]["mce"] == pytest.approx(1)
    assert corrupted["mce"] == pytest.approx((1 - corrupted["accuracy"]) / (12 / 14))
    assert corrupted["relative_mce"] is None  # a baseline that gets no worse measures nothing
    assert corrupted["difference"] == pytest.approx(corrupted["accuracy"] - 1 / 7)
    assert summarize_results(compared.results, "knows")["baseline"] == "knows"
    with pytest.raises(ValueError, match="none of the models: knows, neutral"):
        summarize_results(compared.results, "other")


def test_cells_add_up_to_the_summary(compared: Comparison) -> None:
    report = summarize_results(compared.results)
    names = SUITES["noise-blur"]
    assert len(report["cells"]) == 2 * (1 + 2 * len(names))
    for found in report["models"]:
        cells = [c for c in report["cells"] if c["model"] == found["name"] and c["severity"]]
        mean = sum(cell["accuracy"] for cell in cells) / len(cells)
        assert found["corrupted"]["accuracy"] == pytest.approx(mean)
        for name, by in found["corrupted"]["by_corruption"].items():
            own = [cell["accuracy"] for cell in cells if cell["corruption"] == name]
            assert by["accuracy"] == pytest.approx(sum(own) / 2)
        for cell in cells:
            low, high = cell["accuracy_ci95"]
            assert low <= cell["accuracy"] <= high
            assert 0 <= cell["ece"] <= 1


def test_flip_rates(tmp_path: Path) -> None:
    """Who always answers alike never flips; who knows one frame flips where it begins or ends."""
    subjects = [remembering("knows", faces(7)), Memory("neutral")]
    comparison = Comparison(subjects, faces(7), tmp_path, suites=["rafdb-p"], frames=3)
    comparison.run()
    report = summarize_results(comparison.results)
    assert model(report, "neutral")["flip_rate"] == 0
    rates = {
        row["sequence"]: row["flip_rate"] for row in report["flips"] if row["model"] == "knows"
    }
    assert set(rates) == set(SEQUENCES)
    # Compared with the clean first frame: all but the neutral one of seven flip, in both others.
    assert rates["gaussian_noise"] == pytest.approx(6 / 7)
    # Frame 1 of 3 is the clean one: it differs from both.
    assert rates["brightness"] == pytest.approx(6 / 7)
    assert model(report, "knows")["corrupted"] is None


def test_a_report_leaves_its_files(compared: Comparison, tmp_path: Path) -> None:
    report = write_report(compared.results, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    text = (tmp_path / "report.md").read_text()
    for name in ("curves", "heat_map", "face"):
        assert f"({name}.png)" in text
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 100
        assert (tmp_path / f"{name}.svg").read_text().lstrip().startswith("<?xml")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert any(line.startswith("| gaussian_noise |") for line in tables)
    for first, second in pairwise(tables):
        if second.startswith("| ---"):
            assert first.count("|") == second.count("|")


def test_the_same_report_gives_the_same_files(compared: Comparison, tmp_path: Path) -> None:
    for name in ("a", "b"):
        report = write_report(compared.results, tmp_path / name, figures=False)
        save_figure(heat_map(report), tmp_path / name, "heat_map")
    for file in ("report.json", "report.md", "heat_map.svg"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_report_of_attacks(tmp_path: Path) -> None:
    plan = AttackPlan(eps=(1 / 255, 8 / 255), iterations=2, checked=4, minimal=True)
    subjects = [Memory("a"), Memory("b")]
    comparison = Comparison(subjects, faces(), tmp_path, suites=(), attack=plan)
    comparison.run()
    write_report(comparison.results, tmp_path)
    text = (tmp_path / "report.md").read_text()
    for shown in ("8/255", "apgd-dlr, 2 steps", "no draws", "robust accuracy", "attack.png"):
        assert shown in text
    assert not (tmp_path / "curves.png").exists()
    assert (tmp_path / "attack.svg").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    report["findings"][0]["passed"] = False
    assert "not to be believed" in robustness_markdown(report)


def test_the_page_of_results_is_written_from_reports(compared: Comparison) -> None:
    report = summarize_results(compared.results)
    page = "before\n<!-- robustness -->\nold\n<!-- end of robustness -->\nafter\n"
    text = rewritten(page, {"faces": report})
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end of robustness -->\nafter\n")
    assert "| knows | none | 1.000" in text
    assert rewritten(text, {}) == page.replace("old", "None yet.")


def test_the_page_holds_the_reports_that_are_kept() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rewritten(page, kept_reports()) == page


def test_without_matplotlib_the_figures_alone_are_missing(
    compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(compared.results, tmp_path, figures=False)
    assert "png" not in (tmp_path / "report.md").read_text()
    with pytest.raises(ImportError, match=r"\[figures\]"):
        write_report(compared.results, tmp_path)


def test_the_face_shown_is_one_that_all_know(tmp_path: Path) -> None:
    data = faces()
    known = dict(list(remembering("x", data).known.items())[5:])
    subjects = [remembering("all", data), Memory("late", known)]
    comparison = Comparison(subjects, data, tmp_path, severities=(1,))
    comparison.run()
    from emodc.experiments.robustness.face_chart import face_chart

    right = torch.stack([comparison.results.right(s, CLEAN) for s in subjects]).prod(dim=0)
    labels = comparison.results.sample.labels
    telling = right * (labels != labels.bincount().argmax())
    chosen = int(telling.argmax())
    assert chosen != int(right.argmax())  # the first face is of the commonest class
    title = face_chart(comparison.results).legends[0].get_title().get_text()
    assert comparison.results.sample.classes[int(comparison.results.sample.labels[chosen])] in title
    assert chosen > 0 or right[0] == 1


def test_epsilons_and_attacks_read_well() -> None:
    shown = [eps_text(x / 255, "linf") for x in (0.5, 1, 8, 1 / 3)]
    assert shown == ["0.5/255", "1/255", "8/255", "0.00131"]
    assert [eps_text(0.1, norm) for norm in ("linf", "l2")] == ["25.5/255", "0.1"]
    assert attack_text({"attack": "square", "queries": 1000}) == "square, 1,000 queries"
    row = {"attack": "pgd", "loss": "ce", "steps": 20, "restarts": 2, "targets": 3}
    assert attack_text(row) == "pgd-ce, 20 steps, 2 restarts, 3 targets"
