from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emodc.backbones.base import Network
from emodc.backbones.conditional_unet import ConditionalUNetConfig
from emodc.backbones.face_unet import FaceUNetConfig
from emodc.codecs import PixelCodec
from emodc.data import open_data
from emodc.labels import BASIC7, LabelSet
from emodc.method.schedule import ShiftedCosine
from emodc.model.identity import weights_hash
from emodc.model.model import Model, build_backbone
from emodc.model.settings import ModelSettings
from emodc.model.store import load_model
from emodc.publishing.card import model_card
from emodc.training.initial import take_weights
from emodc.training.loop import train
from emodc.training.recipe import Recipe, parse_recipe
from emodc.training.state import RunState

OWN = LabelSet("own", ("bored", "happiness", "anger"))
THEIRS, OURS = [1, 4, 7, 8], [1, 2, 3, 4]  # happiness, anger, null, non-class


def settings(kind: str, **sizes: Any) -> ModelSettings:
    backbone: FaceUNetConfig | ConditionalUNetConfig
    if kind == "face_unet":
        values: dict[str, Any] = {"widths": (8, 8, 8, 8), "depths": (1, 1, 1), "embedding": 16}
        backbone = FaceUNetConfig(**(values | sizes))
    else:
        values = {"widths": (8, 8, 8), "depths": (1, 1, 1), "embedding": 16}
        backbone = ConditionalUNetConfig(**(values | sizes))
    return ModelSettings(codec=PixelCodec(size=16), backbone=backbone)


def fresh(chosen: ModelSettings, labels: LabelSet, seed: int) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_backbone(chosen, labels, chosen.schedule.build()).eval()


@pytest.fixture(params=["face_unet", "conditional_unet"])
def source(request: pytest.FixtureRequest, tiny_model: Model) -> Model:
    """A model of the seven whose every weight is random, so that none hides behind a zero."""
    chosen = settings(request.param)
    backbone = fresh(chosen, BASIC7, seed=1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for weight in backbone.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return replace(tiny_model, name="old", settings=chosen, backbone=backbone)


def test_common_classes_are_predicted_as_before(source: Model) -> None:
    network = fresh(source.settings, OWN, seed=3)
    facts = take_weights(network, source.settings, OWN, source)
    xt, t = torch.randn(2, 1, 16, 16), torch.tensor([200, 600])
    ours = network.predict_noise(xt, t, torch.tensor([OURS, OURS]))
    theirs = source.backbone.predict_noise(xt, t, torch.tensor([THEIRS, THEIRS]))
    torch.testing.assert_close(ours, theirs)
    heads = [net(xt, t, torch.tensor([[0], [0]]))[1] for net in (network, source.backbone)]
    torch.testing.assert_close(heads[0][:, 1:], heads[1][:, [1, 4]])
    assert (facts["kept"], facts["fresh"]) == (["happiness", "anger"], ["bored"])
    assert facts["weights_sha256"] == weights_hash(source)


def test_a_new_class_is_as_it_was(source: Model) -> None:
    network, other = (fresh(source.settings, OWN, seed=3) for _ in range(2))
    take_weights(network, source.settings, OWN, source)
    for name in network.class_rows:
        weight = network.get_parameter(name)
        assert torch.equal(weight[0], other.get_parameter(name)[0])
        assert not torch.equal(weight[1], other.get_parameter(name)[1])


def test_the_same_classes_make_the_same_model(source: Model) -> None:
    network = fresh(source.settings, BASIC7, seed=3)
    take_weights(network, source.settings, BASIC7, source)
    assert weights_hash(replace(source, backbone=network)) == weights_hash(source)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"codec": PixelCodec(size=24)}, "its codec is .*size=16"),
        ({"schedule": ShiftedCosine(median_sigma=0.5)}, "its schedule is .*median_sigma=0.3"),
        (
            {"backbone": settings("face_unet", embedding=24).backbone},
            "its face_unet has other sizes",
        ),
        ({"backbone": settings("conditional_unet").backbone}, "its network is face_unet, not cond"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], reason: str, tiny_model: Model
) -> None:
    chosen = tiny_model.settings.model_copy(update=changes)
    with pytest.raises(ValueError, match=f"^cannot begin with 'tiny': {reason}[^\\n]*$"):
        take_weights(fresh(chosen, BASIC7, seed=0), chosen, BASIC7, tiny_model)


def recipe(**changes: Any) -> Recipe:
    backbone = {"kind": "face_unet", "widths": [8] * 4, "depths": [1, 1, 1], "embedding": 16}
    values: dict[str, Any] = {
        "name": "tuned",
        "model": {"codec": {"kind": "pixel", "size": 16}, "backbone": backbone},
        "samples": 16,
        "batch_size": 8,
        "phases": [{"objective": {"kind": "amdit"}, "trunk_weight": 0.5}],
        "optimizer": {"warm_up": 16},
        "validation": {"every": 8, "images": 14, "steps": 2},
    }
    return parse_recipe(values | changes, "test")


def test_a_run_begins_with_the_model_and_says_so(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data("synthetic:count=14", "train"), open_data("synthetic:count=14", "validation")
    begun = []
    make = RunState.fresh

    def watched(backbone: Network, *args: Any, **options: Any) -> RunState:
        begun.append(weights_hash(replace(tiny_model, backbone=backbone)))
        return make(backbone, *args, **options)

    monkeypatch.setattr(RunState, "fresh", watched)
    train(recipe(), *data, tmp_path, device="cpu", initial=tiny_model)
    assert begun == [weights_hash(tiny_model)]
    model = load_model(tmp_path)
    facts = model.facts["initial_model"]
    assert (facts["name"], facts["weights_sha256"]) == ("tiny", begun[0])
    assert "They began as the weights of tiny" in model_card(model, None)

    for other in (None, model):
        with pytest.raises(ValueError, match="holds a run with another initial model"):
            train(recipe(), *data, tmp_path, device="cpu", initial=other)
    train(recipe(), *data, tmp_path, device="cpu", initial=tiny_model)  # which goes on
