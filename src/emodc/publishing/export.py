"""Packaging: a trained model as a folder that can be shipped, and its card."""

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from emodc.explain.generate import DEFAULT_STEPS
from emodc.explain.sample_sheet import SAMPLES, card_samples, facts_of
from emodc.model.description import SETTINGS
from emodc.model.identity import state_hash
from emodc.model.model import Model
from emodc.model.store import MODEL_FILES, load_model, save_model
from emodc.publishing.card import model_card
from emodc.reports.evaluation_report import EvaluationReport
from emodc.support.files import one_line, write_atomically
from emodc.support.text import printable

CARD = "README.md"

# The library that the hub's client reaches the network by depends on its version: httpx2, httpx or
# requests. Its errors are the bases of the client's own, or `OSError`.
_UNREACHABLE = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, OSError))

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")  # of a license


def export_model(
    model: Model,
    folder: Path,
    *,
    name: str | None = None,
    half: bool = False,
    license_id: str | None = None,
    report: EvaluationReport | None = None,
    samples: bool = False,
) -> None:
    """Write a model and its card for shipping.

    Args:
        model: what to ship.
        folder: created if missing; a model in it is replaced.
        name: what the shipped model is called; as before if not given.
        half: store the weights in float16, at half the size.
        license_id: license of the weights, one of the hub's identifiers such as ``apache-2.0``; as
            stated before, or not at all, if not given.
        report: for the card; of the weights as they are stored.
        samples: draw images of every class for the card; one already there stays on the card as
            long as it is of the same weights.

    Raises:
        ValueError: the report is of other weights, images are wanted of a baseline, or the license
            is no identifier.
        OSError: the folder cannot be written.
    """
    if samples and not model.backbone.generative:
        raise ValueError(f"model '{model.name}' is discriminative: it generates no faces")
    dtype = torch.float16 if half else torch.float32
    if report is not None:
        stored = {key: w.to(dtype).float() for key, w in model.backbone.weights().items()}
        used = state_hash(stored, model.backbone.base.get("sha256", ""))
        if report.model.weights_sha256 != used:
            raise ValueError(
                f"the report is of other weights than those for {folder}: export, evaluate the "
                "exported folder, then export again with its report"
            )
    if license_id is not None and not _IDENTIFIER.fullmatch(license_id):
        raise ValueError(
            f"license '{license_id}' is not an identifier of the Hugging Face hub: give one, such "
            "as apache-2.0, cc-by-nc-4.0 or other"
        )
    facts = dict(model.facts) | ({} if license_id is None else {"license": license_id})
    save_model(replace(model, name=name or model.name, facts=facts), folder, dtype)
    if samples:
        write_atomically(folder / SAMPLES, card_samples(load_model(folder), DEFAULT_STEPS))
    write_card(folder, report)


def write_card(folder: Path, report: EvaluationReport | None) -> None:
    """Write the card of the model in a folder, with the images that it drew, if they are there.

    Args:
        folder: holds a model.
        report: of an evaluation of these very weights, if there was one.

    Raises:
        ValueError: the folder holds no usable model.
        OSError: the folder cannot be written.
    """
    model = load_model(folder)
    drawn = facts_of(folder / SAMPLES, model)
    try:
        card = model_card(model, report, drawn)
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f"{folder / SETTINGS}: its facts are not those of a model trained by EmoDC "
            f"({type(error).__name__}: {one_line(error)}); delete what is wrong under 'facts'"
        ) from error
    write_atomically(folder / CARD, card.encode())


def push_to_hub(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload a model and its card to the Hugging Face hub.

    Only what belongs to the model is uploaded, so a run's folder can be given. The account is that
    of ``hf auth login`` or the environment's HF_TOKEN.

    Args:
        folder: holds a model; a card without figures is written if it has none.
        repository: ``owner/name``; created if missing.
        private: whether a repository that is created is private.

    Returns:
        The address of the upload.

    Raises:
        ValueError: the folder holds no usable model, the hub refused, or it cannot be reached.
    """
    model = load_model(folder)  # refuses a damaged one before anything is uploaded
    if not (folder / CARD).exists():
        write_card(folder, None)
    files = [*MODEL_FILES, CARD]
    if facts_of(folder / SAMPLES, model) is not None:
        files.append(SAMPLES)
    hub = HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        done = hub.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files)
    except (HfHubHTTPError, HFValidationError) as error:
        raise ValueError(f"{repository}: {_reason(error)}") from None
    except _UNREACHABLE as error:
        raise ValueError(
            f"{repository}: the hub cannot be reached ({_reason(error)}); the model is in "
            f"{folder}: upload it once there is a network"
        ) from None
    return str(done.commit_url)


def _reason(error: Exception) -> str:
    """Return the first line of what an error says, or its kind."""
    return printable(next(iter(str(error).strip().splitlines()), type(error).__name__))
