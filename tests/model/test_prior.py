import json
from pathlib import Path

import pytest
import torch

from emodc.labels import BASIC7
from emodc.model.decision import Decision
from emodc.model.prior import ClassPrior, parse_prior, smoothed_shares

TRAINING = (0.4, 0.3, 0.1, 0.1, 0.06, 0.03, 0.01)
KNOWN = ClassPrior(training=TRAINING, effective=(0.25, 0.25, 0.1, 0.1, 0.1, 0.1, 0.1), nats=20.0)
T = torch.tensor([100, 500])


def parsed(text: str) -> dict[str, float]:
    return dict(zip(BASIC7.classes, parse_prior(text, BASIC7, KNOWN), strict=True))


def test_priors_by_name() -> None:
    assert parse_prior("training", BASIC7, KNOWN) == TRAINING
    assert parse_prior("effective", BASIC7, KNOWN) == KNOWN.effective
    assert set(parsed("uniform").values()) == {1 / 7}
    assert parse_prior("balanced-power=0", BASIC7, KNOWN) == pytest.approx(TRAINING)
    assert parsed("balanced-power=1") == pytest.approx(parsed("uniform"))
    half = parsed("balanced-power=0.5")
    assert half["neutral"] / half["fear"] == pytest.approx(40**0.5)


def test_priors_by_class(tmp_path: Path) -> None:
    shares = parsed("happy=0.5, neutral=0.5")
    assert shares["happiness"] == shares["neutral"] == 0.5
    assert sum(shares.values()) == 1.0
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"prior": {"fear": 0.25, "anger": 0.75}, "images": 9}))
    assert parsed(str(file))["anger"] == 0.75
    assert parse_prior({"fear": 0.25, "anger": 0.75}, BASIC7, KNOWN) == tuple(
        parsed(str(file)).values()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flat", "unknown prior 'flat': give training, uniform"),
        ("happiness=0.5", "sum to 0.5, but must sum to 1"),
        ("boredom=1", "unknown class 'boredom': the model tells neutral"),
        ("happiness=x,neutral=1", "'x' is no number"),
        ("happiness=-1,neutral=2", "share of happiness must be a number from 0 to 1"),
        ("happy=0.5,happiness=0.5", "names happiness twice"),
        ("balanced-power=3", "from 0 .training. over 1 .uniform. to 2"),
        ("balanced-power=nan", "'nan' is no number"),
    ],
)
def test_a_wrong_prior_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_prior(text, BASIC7, KNOWN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["[1]", "{}", '{"prior": 3}', '{"prior": {"fear": "1"}}', '{"prior": {"fear": true}}'],
)
def test_a_wrong_file_is_one_line_that_names_it(content: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"mine\.json") as caught:
        parse_prior(str(file), BASIC7, KNOWN)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"none\.json"):
        parse_prior(str(tmp_path / "none.json"), BASIC7, KNOWN)


def test_smoothed_shares_leave_no_class_out() -> None:
    assert smoothed_shares([3, 0]) == (3.5 / 4, 0.5 / 4)


def decision(asked: tuple[float, ...] | None, power: float = 1.0) -> Decision:
    prior = KNOWN.model_copy(update={"asked": asked})
    return Decision(scale=20.0, power=power, prior=prior)


def test_the_posterior_is_bayes_rule_with_the_asked_prior() -> None:
    errors = torch.rand(20, 7, 2, generator=torch.Generator().manual_seed(0)) / 5
    uniform = (1 / 7,) * 7
    left = decision(None).probabilities(errors, T, 1000)
    found = decision(uniform).probabilities(errors, T, 1000)
    expected = left / torch.tensor(KNOWN.effective).double()
    torch.testing.assert_close(found, expected / expected.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("power", [0.7, 1.0])
def test_logits_order_as_the_probabilities_do_and_have_gradients(power: float) -> None:
    errors = torch.rand(50, 7, 2, generator=torch.Generator().manual_seed(0)) / 5
    errors.requires_grad_()
    deciding = decision(TRAINING, power)
    logits = deciding.logits(errors, T, 1000)
    p = deciding.probabilities(errors, T, 1000)
    assert torch.equal(logits.argsort(dim=1), p.argsort(dim=1))
    (slope,) = torch.autograd.grad(logits[:, 3].sum(), errors)
    assert bool((slope[:, 3] == -10.0).all())  # of each of the two draws
    other = decision(None, power).logits(errors, T, 1000)
    assert not torch.equal(logits.argmax(dim=1), other.argmax(dim=1))


def test_fewer_classes_share_the_whole_probability() -> None:
    errors = torch.rand(5, 7, 2, generator=torch.Generator().manual_seed(0))
    whole = decision(TRAINING).probabilities(errors, T, 1000)
    some = decision(TRAINING).among((1, 4)).probabilities(errors, T, 1000)
    torch.testing.assert_close(some, whole[:, [1, 4]] / whole[:, [1, 4]].sum(dim=1, keepdim=True))
