import pytest
import torch

from emodc.backbones.base import Classifier, Network, NetworkSettings
from emodc.backbones.conditional_unet import ConditionalUNetConfig
from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.backbones.face_unet import FaceUNetConfig
from emodc.method.draws import draw_bank, show
from emodc.method.schedule import ShiftedCosine

SCHEDULE = ShiftedCosine().build()
UNET = FaceUNetConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1), embedding=16)
GENERATOR = ConditionalUNetConfig(widths=(8, 8, 8), depths=(1, 1, 1), embedding=16)
CNN = FaceClassifierConfig(widths=(8, 8, 8), depths=(1, 1, 1), embedding=16)
CONTROL = FaceClassifierConfig(widths=(8, 8, 8), depths=(1, 1, 1), embedding=16, sees_noise=True)

Config = FaceUNetConfig | ConditionalUNetConfig | FaceClassifierConfig


def built(config: Config) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return config.build([""] * 9, SCHEDULE).eval()


@pytest.mark.parametrize("config", [UNET, GENERATOR, CNN, CONTROL])
def test_settings_say_what_the_network_is(config: Config) -> None:
    network = built(config)
    assert isinstance(config, NetworkSettings)
    assert config.generative == network.generative
    assert network.generative != isinstance(network, Classifier)
    xt, t = torch.zeros(2, 1, 16, 16), torch.tensor([1, 500])
    if network.generative:
        _, logits = network(xt, t, torch.tensor([[0, 3], [1, 2]]))
        assert (logits is not None) == config.auxiliary_head
    else:
        assert not config.auxiliary_head
        with pytest.raises(ValueError, match="predicts no noise"):
            network.predict_noise(xt, t, torch.zeros(2, 1, dtype=torch.int64))


@pytest.mark.parametrize("config", [UNET, GENERATOR, CNN, CONTROL])
def test_all_networks_answer_for_chosen_prompts(
    config: Config,
) -> None:
    network, bank = built(config), draw_bank(1000, 3, (1, 16, 16))
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    image, draw = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2])
    shown = show(SCHEDULE, x, torch.zeros(2), bank, image, draw)
    whole = network.class_errors(shown, torch.arange(7).expand(3, -1))
    some = network.class_errors(shown, torch.tensor([[4, 0], [1, 2], [6, 6]]))
    assert whole.shape == (3, 7)
    torch.testing.assert_close(some[0], whole[0, [4, 0]])
    torch.testing.assert_close(some[2], whole[2, [6, 6]])
    other = show(SCHEDULE, x, torch.zeros(2), draw_bank(1000, 3, (1, 16, 16), 1), image, draw)
    same = torch.equal(whole, network.class_errors(other, torch.arange(7).expand(3, -1)))
    assert same is not network.sees_noise
