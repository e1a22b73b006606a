import pytest
import torch

from emodc.evaluation.frechet import Moments, frechet_distance, moments


def test_the_distance_of_normal_distributions_whose_answer_is_known() -> None:
    ours = Moments(torch.tensor([1.0, 2.0]).double(), torch.diag(torch.tensor([4.0, 9.0]).double()))
    theirs = Moments(
        torch.tensor([4.0, 6.0]).double(), torch.diag(torch.tensor([1.0, 1.0]).double())
    )
    # |mu - mu'|^2 = 9 + 16; the standard deviations differ by 1 and 2.
    assert frechet_distance(ours, theirs) == pytest.approx(25 + 1 + 4)
    assert frechet_distance(theirs, ours) == pytest.approx(30)
    assert frechet_distance(ours, ours) == pytest.approx(0, abs=1e-9)


def test_covariances_that_do_not_commute() -> None:
    turned = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double()
    plain = torch.diag(torch.tensor([4.0, 1.0]).double())
    zero = torch.zeros(2).double()
    # tr((A B)^(1/2)) of 2 x 2 matrices: sqrt(tr(AB) + 2 sqrt(det(AB))).
    between = (10 + 2 * 12**0.5) ** 0.5
    found = frechet_distance(Moments(zero, turned), Moments(zero, plain))
    assert found == pytest.approx(4 + 5 - 2 * between)


def test_an_image_that_counts_twice_is_as_good_as_two() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(40)
    weights[:8] = 2
    weighted, repeated = moments(x, weights), moments(torch.cat([x, x[:8]]))
    torch.testing.assert_close(weighted.mean, repeated.mean)
    # They differ in how much is known, and so in what makes the covariance unbiased.
    ratio = weighted.covariance / repeated.covariance
    assert float(ratio.std()) < 1e-6
    torch.testing.assert_close(moments(x).covariance, torch.cov(x.double().T))


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two images"):
        moments(torch.zeros(1, 4))
