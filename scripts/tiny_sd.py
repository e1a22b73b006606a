"""Write a tiny Stable Diffusion checkpoint with random weights in the genuine diffusers layout.

    python scripts/tiny_sd.py FOLDER [--v-prediction]

It knows nothing, but everything that reads a real checkpoint reads it: for tests, benchmarks and
first steps with the Stable Diffusion recipes on a machine without a GPU. Needs the extra `sd`.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emodc.labels import BASIC8, COMPOUND11, prompt_texts

_TOKENS, _WIDTH = 32, 32  # longest text and width of the text encoder

_PARTS = {
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_tiny_checkpoint(
    folder: Path,
    *,
    prediction_type: str = "epsilon",
    widths: tuple[int, int] = (32, 64),
    latent_size: int = 8,
    seed: int = 0,
) -> None:
    """Write the checkpoint: UNet, VAE, text encoder, tokenizer and scheduler settings.

    Args:
        folder: created if missing.
        prediction_type: of the UNet, ``epsilon`` or ``v_prediction``; the weights are the same.
        widths: channels of the UNet at full and half resolution, multiples of 32.
        latent_size: side of the latents; images are twice as large.
        seed: of the weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=latent_size,
            block_out_channels=widths,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=_WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=2 * latent_size,
            scaling_factor=0.18215,
        )
        # At random weights, texts hardly matter: make them tell, as they do after training.
        for name, weight in unet.named_parameters():
            if "attn2.to_out" in name or "attn2.to_v" in name:
                weight.data *= 4
        tokenizer = _tokenizer(folder / "tokenizer")
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=_WIDTH,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type=prediction_type,
        skip_prk_steps=True,
        steps_offset=1,
    )
    for name, part in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        part.save_pretrained(folder / name)
    scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", **_PARTS}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """Train a small byte-pair vocabulary on the prompts, and keep it as CLIP's is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        end_of_word_suffix="</w>",
        initial_alphabet=[chr(code) for code in range(33, 127)],
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        show_progress=False,
    )
    texts = prompt_texts(BASIC8, {}) + prompt_texts(COMPOUND11, {})
    trained.train_from_iterator(texts, trainer)
    parts = json.loads(trained.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in parts["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": _TOKENS}
    settings |= {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    settings |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--v-prediction", action="store_true")
    given = parser.parse_args()
    write_tiny_checkpoint(
        given.folder, prediction_type="v_prediction" if given.v_prediction else "epsilon"
    )
