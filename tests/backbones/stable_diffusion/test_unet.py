import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers", reason="needs the extra sd")

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from emodc.backbones.stable_diffusion.checkpoint import CheckpointSchedule
from emodc.backbones.stable_diffusion.unet import StableDiffusion, StableDiffusionConfig
from emodc.labels import BASIC7, prompt_texts
from emodc.method.draws import draw_bank
from emodc.method.errors import class_errors
from emodc.method.schedule import add_noise, noise_error

TEXTS = prompt_texts(BASIC7, {})
K = len(BASIC7)


def build(folder: Path, **settings: Any) -> StableDiffusion:
    schedule = CheckpointSchedule(path=str(folder)).build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StableDiffusionConfig(path=str(folder), **settings).build(TEXTS, schedule)


@pytest.fixture(scope="module")
def network(sd_folder: Path) -> StableDiffusion:
    return build(sd_folder).eval()


@pytest.fixture(scope="module")
def x0() -> Tensor:
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def random_batch(images: int, prompts: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    xt = torch.randn(images, 4, 8, 8, generator=g)
    t = torch.randint(1000, (images,), generator=g)
    return xt, t, torch.randint(K + 2, (images, prompts), generator=g)


@torch.no_grad()
def plain_errors(folder: Path, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """One prompt and one step at a time, with diffusers' own parts and its scheduler."""
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    errors = torch.empty(len(x0), K, len(t))
    for c in range(K):
        ids = tokenizer(
            [TEXTS[c]],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        text = encoder(ids)[0]
        for s in range(len(t)):
            for i in range(len(x0)):
                one, noise, step = x0[i : i + 1], eps[s : s + 1], t[s : s + 1]
                xt = scheduler.add_noise(one, noise, step)
                predicted = unet(xt, step, encoder_hidden_states=text).sample
                target = noise
                if scheduler.config.prediction_type == "v_prediction":
                    # eps from v by solving the two linear equations that define xt and v
                    abar = scheduler.alphas_cumprod[step].view(-1, 1, 1, 1)
                    predicted = (1 - abar).sqrt() * xt + abar.sqrt() * predicted
                errors[i, c, s] = (predicted - target).square().mean()
    return errors


@pytest.mark.parametrize("variant", ["sd_folder", "sd_v_folder"])
def test_errors_equal_a_plain_loop_over_diffusers_own_parts(
    variant: str, request: pytest.FixtureRequest, x0: Tensor
) -> None:
    folder = request.getfixturevalue(variant)
    network = build(folder, rows=5).eval()
    schedule = CheckpointSchedule(path=str(folder)).build()
    bank = draw_bank(1000, 4, (4, 8, 8))
    errors = class_errors(network.class_errors, schedule, x0, bank, K)
    torch.testing.assert_close(
        errors, plain_errors(folder, x0, bank.t, bank.eps), atol=1e-5, rtol=1e-5
    )
    gaps = errors.amax(dim=1) - errors.amin(dim=1)
    assert gaps.mean() > 1e-3  # the texts tell: the comparison could have failed


def test_v_prediction_is_its_epsilon_twin_turned_by_the_noise_level(
    network: StableDiffusion, sd_v_folder: Path
) -> None:
    xt, t, prompts = random_batch(4, 2)
    schedule = CheckpointSchedule(path=str(sd_v_folder)).build()
    signal, noise = (part.view(-1, 1, 1, 1, 1) for part in schedule.signal_and_noise(t))
    with torch.no_grad():
        raw = network.predict_noise(xt, t, prompts)  # the same weights, taken for eps
        eps = build(sd_v_folder).predict_noise(xt, t, prompts)
    torch.testing.assert_close(eps, signal * raw + noise * xt.unsqueeze(1), atol=1e-5, rtol=1e-5)
    # With eps the prediction and x0 what follows from it, v is what the network said.
    x0 = (xt.unsqueeze(1) - noise * eps) / signal
    torch.testing.assert_close(signal * eps - noise * x0, raw, atol=1e-3, rtol=1e-3)


def test_rows_change_memory_and_not_the_answer(sd_folder: Path) -> None:
    batch = random_batch(3, 5)
    with torch.no_grad():
        few, many = (build(sd_folder, rows=rows).predict_noise(*batch) for rows in (2, 100))
    assert few.shape == (3, 5, 4, 8, 8)
    torch.testing.assert_close(few, many, atol=1e-5, rtol=1e-5)


def test_forward_answers_as_predict_noise_and_keeps_no_graph_of_constant_prompts(
    network: StableDiffusion,
) -> None:
    xt, t, prompts = random_batch(2, 3)
    eps_theta, reading = network.train()(xt, t, prompts, 1)
    assert reading is None
    torch.testing.assert_close(eps_theta, network.predict_noise(xt, t, prompts))
    weight = network.unet.conv_in.weight
    (gradient,) = torch.autograd.grad(eps_theta[:, 2].sum(), weight, retain_graph=True)
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(eps_theta[:, 1].sum(), weight)
    assert gradient.any()


def test_a_lora_that_was_not_trained_changes_nothing(
    network: StableDiffusion, sd_folder: Path
) -> None:
    batch = random_batch(2, 3)
    lora = build(sd_folder, tune="lora", rank=4)
    with torch.no_grad():
        torch.testing.assert_close(lora.predict_noise(*batch), network.predict_noise(*batch))


@pytest.mark.parametrize(
    ("settings", "marks"),
    [
        ({"tune": "full"}, {"unet."}),
        ({"tune": "lora", "rank": 2}, {"lora_A", "lora_B"}),
        ({"tune": "lora", "rank": 2, "tune_prompts": True}, {"lora_A", "lora_B", "prompts"}),
        ({"tune": "prompts"}, {"prompts"}),
    ],
)
def test_only_what_is_tuned_is_trained_averaged_and_changed(
    sd_folder: Path, settings: dict[str, Any], marks: set[str]
) -> None:
    network = build(sd_folder, **settings)
    names = network.trained().keys()
    assert all(any(mark in name for mark in marks) for name in names)
    assert all(any(mark in name for name in names) for mark in marks)
    for name, weight in network.named_parameters():
        assert weight.requires_grad == (name in names)
    xt, t, prompts = random_batch(2, 2)
    torch.autograd.backward(noise_error(network(xt, t, prompts)[0], xt).mean())
    for name, weight in network.named_parameters():
        assert (weight.grad is not None) == (name in names)


def test_gradient_checkpointing_gives_the_same_gradients(sd_folder: Path) -> None:
    batch = random_batch(2, 2)
    gradients = []
    for wanted in (False, True):
        network = build(sd_folder, tune="lora", rank=2, gradient_checkpointing=wanted)
        assert network.unet.is_gradient_checkpointing == wanted
        network(*batch)[0].square().mean().backward()
        gradients.append([w.grad for w in network.trained().values()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize("kept", ["bf16", "fp16"])
def test_half_precision_base_weights_stay_close_and_train(
    network: StableDiffusion, sd_folder: Path, kept: str
) -> None:
    half = build(sd_folder, tune="lora", rank=2, weights=kept)
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    assert half.unet.conv_in.weight.dtype == kinds[kept]
    assert all(weight.dtype == torch.float32 for weight in half.trained().values())
    batch = random_batch(2, 2)
    predicted = half(*batch)[0]
    assert predicted.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(predicted, network.predict_noise(*batch), atol=0.1, rtol=0.1)
    predicted.square().mean().backward()
    assert any(w.grad is not None and w.grad.any() for w in half.trained().values())


def test_a_deep_copy_can_share_frozen_weights(sd_folder: Path) -> None:
    network = build(sd_folder, tune="lora", rank=2)
    trained = network.trained()
    frozen = {id(w): w for name, w in network.named_parameters() if name not in trained}
    average = copy.deepcopy(network, frozen)
    assert average.unet.conv_in.weight is network.unet.conv_in.weight
    for name, weight in average.trained().items():
        assert weight is not trained[name]


def test_the_schedule_is_the_schedulers_own(sd_folder: Path) -> None:
    schedule = CheckpointSchedule(path=str(sd_folder)).build()
    scheduler = DDPMScheduler.from_pretrained(sd_folder, subfolder="scheduler")
    torch.testing.assert_close(
        schedule.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-5, atol=0
    )
    x0, eps = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8)
    t = torch.tensor([0, 1, 500, 998, 999])
    torch.testing.assert_close(
        add_noise(schedule, x0, eps, t), scheduler.add_noise(x0, eps, t), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"rank": 0}, "rank"),
        ({"rows": 0}, "rows"),
        ({"alpha": -1.0}, "alpha"),
        ({"targets": ()}, "targets"),
        ({"tune": "full", "weights": "bf16"}, "fp32"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        StableDiffusionConfig(path="anywhere", **settings)


def test_lora_targets_that_the_unet_lacks_are_refused(sd_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"targets.*to_z"):
        build(sd_folder, tune="lora", targets=("to_z",))


def test_a_prompt_that_the_text_encoder_would_cut_is_refused(sd_folder: Path) -> None:
    schedule = CheckpointSchedule(path=str(sd_folder)).build()
    texts = ["a photo of a face " * 20, *TEXTS[1:]]
    with pytest.raises(ValueError, match=r"prompts: .* tokens"):
        StableDiffusionConfig(path=str(sd_folder)).build(texts, schedule)


def test_the_autoencoder_of_the_checkpoint_is_what_diffusers_loads(sd_folder: Path) -> None:
    from emodc.codecs import VAECodec

    codec = VAECodec(path=str(sd_folder))
    assert (codec.size, codec.shape) == (16, (4, 8, 8))
    vae = AutoencoderKL.from_pretrained(sd_folder, subfolder="vae")
    pixels = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8)
    crops = [image.permute(1, 2, 0).numpy() for image in pixels]
    with torch.no_grad():
        mean = vae.encode(pixels.float() / 127.5 - 1).latent_dist.mean
    torch.testing.assert_close(codec.encode(crops), mean * vae.config.scaling_factor)
    assert codec.decode(codec.encode(crops)).shape == (5, 16, 16, 3)
    with pytest.raises(ValueError, match=r"codec\.resolution 17.*multiples of 2"):
        VAECodec(path=str(sd_folder), resolution=17).encode(crops)
    assert VAECodec(path=str(sd_folder), resolution=24).shape == (4, 12, 12)
