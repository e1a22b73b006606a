import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emodc.model.decision import Decision
from emodc.model.description import HELD_OUT, SETTINGS, description_hash
from emodc.model.held_out import HeldOut
from emodc.model.model import Model
from emodc.model.prior import ClassPrior
from emodc.model.store import load_model, save_model
from emodc.support.tensors import pack_tensors

PRIOR = ClassPrior(training=(1 / 7,) * 7, effective=(1 / 7,) * 7, nats=5.0)


@pytest.fixture
def kept(tiny_model: Model, tmp_path: Path) -> Path:
    errors = torch.rand(20, 7, 4, generator=torch.Generator().manual_seed(0))
    held_out = HeldOut.of(errors, torch.arange(20) % 7)
    decision = Decision(scale=5.0, prior=PRIOR, coverage=0.8)
    save_model(replace(tiny_model, decision=decision, held_out=held_out), tmp_path)
    return tmp_path


def test_held_out_images_travel_with_the_weights(kept: Path) -> None:
    model = load_model(kept)
    assert model.held_out is not None
    assert model.held_out.labels.tolist() == [n % 7 for n in range(20)]
    assert float(model.held_out.errors.float().mean(dim=1).abs().max()) < 1e-3
    save_model(replace(model, held_out=None), kept)
    assert load_model(kept).held_out is None


def test_only_differences_between_classes_are_kept() -> None:
    errors = torch.rand(5, 7, 4)
    kept = HeldOut.of(errors, torch.zeros(5, dtype=torch.int64)).errors.float()
    gaps = errors[:, 1] - errors[:, 0]
    torch.testing.assert_close(kept[:, 1] - kept[:, 0], gaps, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "tensors",
    [
        {"errors": torch.zeros(2, 7, 4).half()},
        {"errors": torch.zeros(2, 6, 4).half(), "labels": torch.zeros(2, dtype=torch.int64)},
        {"errors": torch.zeros(2, 7, 4), "labels": torch.zeros(2, dtype=torch.int64)},
        {"errors": torch.zeros(2, 7, 4).half(), "labels": torch.tensor([0, 7])},
        {"errors": torch.full((2, 7, 4), torch.inf).half(), "labels": torch.tensor([0, 1])},
    ],
)
def test_something_else_is_refused(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="not the errors of held-out images"):
        HeldOut.unpack(pack_tensors(tensors), 7)


def test_a_damaged_file_is_named(kept: Path) -> None:
    (kept / HELD_OUT).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=HELD_OUT):
        load_model(kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior": PRIOR.model_dump() | {"training": [0.5, 0.5]}}, "shares"),
        ({"prior": {"training": [0.5] * 2, "effective": [0.5] * 2, "nats": 1.0}}, "each of 7"),
        ({"prior": PRIOR.model_dump() | {"effective": [1.0] + [0.0] * 6}}, "above 0"),
        ({"classes": [0, 9]}, "beyond 7 classes"),
        ({"classes": [3, 1]}, "rising order"),
        ({"least_probability": [0.1, 0.2]}, "one for each of 7"),
    ],
)
def test_priors_of_other_classes_are_refused(
    kept: Path, changes: dict[str, object], message: str
) -> None:
    described = json.loads((kept / SETTINGS).read_text())
    described["posterior"] |= changes
    described["sha256"] = description_hash(described)
    (kept / SETTINGS).write_text(json.dumps(described))
    with pytest.raises(ValueError, match=message) as caught:
        load_model(kept)
    assert "\n" not in str(caught.value)
