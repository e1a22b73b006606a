"""The generator: its encoder knows no prompt, its decoder does, and eps follows from v."""

import pytest
import torch
from torch import Tensor

from emodc.backbones.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from emodc.method.schedule import Schedule, ShiftedCosine, add_noise
from emodc.support.tensors import pack_tensors

SCHEDULE = ShiftedCosine().build()
SIZES = ConditionalUNetConfig(widths=(8, 16, 16), depths=(1, 1, 1), embedding=16)


@pytest.fixture
def network() -> ConditionalUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SIZES.build([""] * 5, SCHEDULE).eval()
        for weight in network.parameters():  # nothing may hide behind a zero
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
    return network


def noised(images: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    xt = torch.randn(images, 1, 16, 16, generator=g)
    return xt, torch.randint(1000, (images,), generator=g)


def test_several_prompts_are_answered_as_one_at_a_time(network: ConditionalUNet) -> None:
    xt, t = noised(3)
    prompts = torch.tensor([[0, 2, 4], [1, 1, 3], [2, 0, 1]])
    together = network.predict_noise(xt, t, prompts)
    assert together.shape == (3, 3, 1, 16, 16)
    for column in range(3):
        alone = network.predict_noise(xt, t, prompts[:, column : column + 1])
        torch.testing.assert_close(together[:, column], alone[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1, 0], together[1, 1])


def test_the_prompt_enters_after_the_encoder_and_matters(network: ConditionalUNet) -> None:
    xt, t = noised(2)
    encoded = network.encode(xt, t)
    two = network.decode(xt, encoded, torch.tensor([[0, 1], [0, 1]]))
    assert (two[:, 0] - two[:, 1]).abs().mean() > 1e-3
    torch.autograd.backward(network.decode(xt, encoded, torch.tensor([[2], [3]])).sum())
    asked = network.prompt.weight.grad
    assert asked is not None
    assert asked[[2, 3]].abs().sum() > 0
    assert asked[[0, 1, 4]].abs().sum() == 0


def test_what_predicts_no_v_predicts_the_share_of_noise_in_the_image() -> None:
    """With v = 0, eps = sqrt(1 - abar) xt: the best guess about white images."""
    network = SIZES.build([""] * 5, SCHEDULE)  # its last layer starts at zero
    xt, t = noised(4)
    expected = (1 - SCHEDULE.alphas_cumprod[t]).sqrt().float().view(-1, 1, 1, 1, 1) * xt[:, None]
    found = network.predict_noise(xt, t, torch.zeros(4, 1, dtype=torch.int64))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_true_v_gives_the_noise_back(network: ConditionalUNet) -> None:
    x0, t = noised(5)
    eps = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    signal, noise = SCHEDULE.signal_and_noise(t)
    v = signal.view(-1, 1, 1, 1) * eps - noise.view(-1, 1, 1, 1) * x0
    xt = add_noise(SCHEDULE, x0, eps, t)
    found = network.noise_of(v[:, None], xt, SCHEDULE.sigma(t))
    torch.testing.assert_close(found[:, 0], eps, atol=1e-3, rtol=1e-3)


def test_an_unchanged_image_adds_nothing_and_a_changed_one_is_told(
    network: ConditionalUNet,
) -> None:
    xt, t = noised(2)
    prompts = torch.tensor([[0], [1]])
    plain, logits = network(xt, t, prompts)
    still, _ = network(xt, t, prompts, augmentation=torch.zeros(2, 6))
    changed, _ = network(xt, t, prompts, augmentation=torch.ones(2, 6))
    assert logits.shape == (2, 3)
    assert torch.equal(plain, still)
    assert not torch.allclose(plain, changed)


def test_prompts_that_need_no_gradient_keep_no_graph(network: ConditionalUNet) -> None:
    xt, t = noised(2)
    prompts = torch.tensor([[0, 4], [1, 4]])
    eps_theta, _ = network(xt, t, prompts, constant=1)
    torch.autograd.backward(eps_theta[:, 1].sum(), retain_graph=True)
    assert all(p.grad is None or not p.grad.any() for p in network.decode2.parameters())
    torch.testing.assert_close(eps_theta, network.predict_noise(xt, t, prompts))


def test_it_comes_back_from_its_files_and_refuses_others(network: ConditionalUNet) -> None:
    files = network.files(torch.float32)
    again = SIZES.restore(files, [""] * 5, SCHEDULE)
    xt, t = noised(1)
    prompts = torch.tensor([[0, 1, 2, 3, 4]])
    assert torch.equal(network.predict_noise(xt, t, prompts), again.predict_noise(xt, t, prompts))
    with pytest.raises(ValueError, match="do not fit"):
        SIZES.restore({"model.safetensors": pack_tensors({"x": xt})}, [""] * 5, SCHEDULE)


def test_a_decoder_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="decoder_depths"):
        ConditionalUNetConfig(decoder_depths=(0, 1, 1))


def test_every_timestep_is_finite(network: ConditionalUNet) -> None:
    schedule: Schedule = SCHEDULE
    t = torch.tensor([0, schedule.timesteps - 1])
    xt = torch.randn(2, 1, 16, 16)
    assert network.predict_noise(xt, t, torch.zeros(2, 1, dtype=torch.int64)).isfinite().all()
