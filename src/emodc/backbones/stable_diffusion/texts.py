"""Texts to the embeddings that Stable Diffusion's cross-attention reads."""

from collections.abc import Sequence

import torch
from torch import Tensor

from emodc.backbones.stable_diffusion.checkpoint import SDCheckpoint
from emodc.support.files import one_line
from emodc.support.optional import importing


@torch.no_grad()
def encode_texts(checkpoint: SDCheckpoint, texts: Sequence[str]) -> Tensor:
    """Encode texts as Stable Diffusion's own pipeline does; then the text encoder is let go.

    Args:
        checkpoint: whose tokenizer and text encoder are used.
        texts: N texts.

    Returns:
        (N, L, D) float32, the last hidden states of the texts padded to the encoder's length.

    Raises:
        ValueError: the tokenizer is missing or belongs to another checkpoint, or a text is too
            long.
        ImportError: the extra `sd` is not installed.
    """
    folder = checkpoint.folder / "tokenizer"
    kept_as = [("vocab.json", "merges.txt"), ("tokenizer.json",)]
    if not any(all((folder / name).is_file() for name in names) for names in kept_as):
        raise ValueError(f"{folder}: vocab.json or merges.txt is missing: download it again")
    checkpoint.weights("text_encoder")  # refuses an unfinished file
    with importing("sd", "Stable Diffusion"):
        from transformers import CLIPTextModel, CLIPTokenizer
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    except Exception as error:  # the library raises bare ones for files that it cannot parse
        reason = one_line(error)
        raise ValueError(f"{folder}: cannot be read ({reason}); download it again") from None
    words, longest = (checkpoint.text_encoder[k] for k in ("vocab_size", "max_position_embeddings"))
    length = tokenizer.model_max_length
    if len(tokenizer) != words or length > longest:
        raise ValueError(
            f"{folder}: knows {len(tokenizer)} tokens and texts of {length}, the text encoder "
            f"{words} and {longest}: the tokenizer is of another checkpoint"
        )
    tokens = tokenizer(list(texts), padding="max_length", max_length=length, truncation=False)
    for text, ids in zip(texts, tokens["input_ids"], strict=True):
        if len(ids) > length:
            raise ValueError(
                f"prompts: '{text}' has {len(ids)} tokens, of which the text encoder reads {length}"
            )
    encoder = CLIPTextModel.from_pretrained(
        checkpoint.folder / "text_encoder",
        variant=checkpoint.variant,
        dtype=torch.float32,
        use_safetensors=True,
    )
    masked = checkpoint.text_encoder.get("use_attention_mask", False)
    mask = torch.tensor(tokens["attention_mask"]) if masked else None
    hidden: Tensor = encoder(torch.tensor(tokens["input_ids"]), attention_mask=mask)[0]
    return hidden
