import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.backbones.face_unet import FaceUNet, FaceUNetConfig
from emodc.method.schedule import ShiftedCosine, add_noise

CLASSES, SIDE = 7, 16
SCHEDULE = ShiftedCosine().build()


@pytest.fixture
def net() -> FaceUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # 16 channels in 8 groups: with one channel a group, a bias before it would do nothing.
        config = FaceUNetConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1), embedding=16)
        net = config.build([""] * (CLASSES + 2), SCHEDULE).eval()
        for name, parameter in net.named_parameters():
            if name.endswith("conv2.weight"):  # blocks start as their skip; let them do something
                nn.init.normal_(parameter, std=0.1)
    return net


def noised(count: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xt = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    return xt, torch.randint(0, SCHEDULE.timesteps, (count,), generator=generator)


def prompts(count: int, *ids: int) -> Tensor:
    return torch.tensor(ids).expand(count, -1)


ALL = tuple(range(CLASSES + 2))


@pytest.mark.parametrize("ids", [(0,), (6, 2), ALL])
def test_one_prediction_for_every_prompt(net: FaceUNet, ids: tuple[int, ...]) -> None:
    xt, t = noised()
    eps_theta = net.predict_noise(xt, t, prompts(3, *ids))
    assert eps_theta.shape == (3, len(ids), 1, SIDE, SIDE)
    assert eps_theta.dtype == torch.float32


def test_prompts_at_once_equal_prompts_one_at_a_time(net: FaceUNet) -> None:
    xt, t = noised()
    together = net.predict_noise(xt, t, prompts(3, *ALL))
    single = [net.predict_noise(xt, t, prompts(3, k)) for k in ALL]
    torch.testing.assert_close(together, torch.cat(single, dim=1), rtol=1e-5, atol=1e-5)


def test_images_at_once_equal_images_one_at_a_time(net: FaceUNet) -> None:
    xt, t = noised()
    asked = torch.tensor([[0, 1], [2, 3], [8, 7]])
    together = net.predict_noise(xt, t, asked)
    single = [net.predict_noise(xt[i : i + 1], t[i : i + 1], asked[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(single), rtol=1e-5, atol=1e-5)


def test_the_order_of_prompts_is_the_order_of_answers(net: FaceUNet) -> None:
    xt, t = noised()
    order = torch.randperm(len(ALL), generator=torch.Generator().manual_seed(0))
    straight = net.predict_noise(xt, t, prompts(3, *ALL))
    shuffled = net.predict_noise(xt, t, prompts(3, *order.tolist()))
    torch.testing.assert_close(shuffled, straight[:, order], rtol=1e-5, atol=1e-5)


def test_prompts_and_noise_levels_differ_from_the_start(net: FaceUNet) -> None:
    xt, t = noised(1)
    answers = net.predict_noise(xt, t, prompts(1, *ALL))[0]
    gaps = (answers.unsqueeze(0) - answers.unsqueeze(1)).square().mean(dim=(2, 3, 4))
    assert gaps[~torch.eye(len(ALL), dtype=torch.bool)].min() > 1e-4
    other = net.predict_noise(xt, (t + 500) % SCHEDULE.timesteps, prompts(1, *ALL))[0]
    assert (other - answers).abs().max() > 1e-2


def test_the_right_v_becomes_the_right_eps(net: FaceUNet) -> None:
    eps, _ = noised(4, seed=2)
    x0, _ = noised(4, seed=3)
    t = torch.tensor([0, 200, 700, 999])
    signal, noise = (part.view(-1, 1, 1, 1) for part in SCHEDULE.signal_and_noise(t))
    v = signal * eps - noise * x0

    class Oracle(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return F.pixel_unshuffle(v, 4)

    net.out = Oracle()  # type: ignore[assignment]
    predicted = net.predict_noise(add_noise(SCHEDULE, x0, eps, t), t, prompts(4, 0))
    torch.testing.assert_close(predicted[:, 0], eps, rtol=1e-4, atol=1e-4)


def test_where_all_is_noise_the_image_is_the_noise(net: FaceUNet) -> None:
    xt, _ = noised()
    predicted = net.predict_noise(xt, torch.full((3,), 999), prompts(3, *ALL))
    assert (predicted - xt.unsqueeze(1)).abs().max() < 0.1


def test_the_weights_are_all_there_is_to_it(net: FaceUNet) -> None:
    config = FaceUNetConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1), embedding=16)
    other = config.build([""] * (CLASSES + 2), SCHEDULE).eval()
    xt, t = noised()
    assert not torch.equal(
        net.predict_noise(xt, t, prompts(3, *ALL)), other.predict_noise(xt, t, prompts(3, *ALL))
    )
    other.load_state_dict(net.state_dict())
    assert torch.equal(
        net.predict_noise(xt, t, prompts(3, *ALL)), other.predict_noise(xt, t, prompts(3, *ALL))
    )


def test_every_parameter_learns(net: FaceUNet) -> None:
    xt, t = noised()
    net.predict_noise(xt, t, prompts(3, *ALL)).square().mean().backward()  # type: ignore[no-untyped-call]
    idle = [
        name
        for name, parameter in net.named_parameters()
        if parameter.grad is None or parameter.grad.abs().max() < 1e-9
    ]
    assert idle == ["trunk_classes.weight", "trunk_classes.bias"]


def test_the_reading_of_the_trunk_is_an_aside(net: FaceUNet) -> None:
    xt, t = noised()
    eps_theta, logits = net(xt, t, prompts(3, *ALL))
    torch.testing.assert_close(eps_theta, net.predict_noise(xt, t, prompts(3, *ALL)))
    assert logits.shape == (3, CLASSES)
    logits.square().mean().backward()
    assert net.trunk_classes.weight.grad is not None
    assert net.stem.weight.grad is not None


def test_the_last_layers_are_float32_under_autocast(net: FaceUNet) -> None:
    seen = {}
    for name in ("out", "trunk_classes", "features"):
        layer = getattr(net, name)
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: output.dtype})
        )
    xt, t = noised()
    with torch.autocast("cpu", torch.bfloat16):
        net(xt, t, prompts(3, *ALL))
    full, half = torch.float32, torch.bfloat16
    assert seen == {"out": full, "trunk_classes": full, "features": half}


def test_muon_gets_the_filters_between_layers_only(net: FaceUNet) -> None:
    hidden = {id(parameter) for parameter in net.hidden_weights()}
    names = {name for name, parameter in net.named_parameters() if id(parameter) in hidden}
    assert "down1.weight" in names
    assert not names & {"stem.weight", "out.weight", "prompt.weight", "trunk_classes.weight"}
    assert all(parameter.ndim > 1 for parameter in net.hidden_weights())
