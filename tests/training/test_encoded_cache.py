from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data import FaceData, open_data
from emodc.method.schedule import ShiftedCosine
from emodc.support.distributed import World
from emodc.training import encoded_cache as x0_cache
from emodc.training.batches import Sampler
from emodc.training.encoded_cache import X0Cache
from emodc.training.recipe import AugmentSettings, Recipe, parse_recipe

SCHEDULE = ShiftedCosine().build()

CPU = torch.device("cpu")
SIZE = 16


class Costly:
    """A codec that counts what it encodes."""

    shape = (2, SIZE, SIZE)

    def __init__(self, identity: str = "costly/1") -> None:
        self.identity, self.encoded = identity, 0

    def encode(self, crops: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
        self.encoded += len(crops)
        gray = torch.from_numpy(np.stack(crops)).float().unsqueeze(1)
        return torch.cat([gray, gray.sqrt()], dim=1)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(x0_cache, "SHARD", 5)
    monkeypatch.setattr(x0_cache, "_AT_ONCE", 3)


def faces(count: int = 14) -> FaceData:
    return open_data(f"synthetic:count={count},size={SIZE}", "train")


def cache(data: FaceData, codec: Costly, world: World | None = None) -> X0Cache:
    return X0Cache(data, codec, device=CPU, world=world or World())


def test_a_cache_gives_what_the_codec_gives_for_images_and_mirror_images() -> None:
    data, codec = faces(), Costly()
    kept = cache(data, codec)
    assert codec.encoded == 28
    image, mirrored = np.array([13, 0, 4, 5, 5, 9]), np.array([0, 1, 0, 1, 0, 1], dtype=np.bool_)
    images = [data.image(i)[:, :: -1 if m else 1] for i, m in zip(image, mirrored, strict=True)]
    expected = Costly().encode([np.ascontiguousarray(p) for p in images], CPU)
    assert torch.equal(kept.x0(image, mirrored), expected)


def test_nothing_is_encoded_twice_and_only_the_same_content_is_found() -> None:
    cache(faces(), Costly())
    again = Costly()
    cache(faces(), again)
    assert again.encoded == 0
    other_codec, other_data = Costly("costly/2"), Costly()
    first, second = cache(faces(), other_codec), cache(faces(21), other_data)
    assert (other_codec.encoded, other_data.encoded) == (28, 42)
    assert first.folder != second.folder


def test_what_was_interrupted_goes_on() -> None:
    data = faces()

    def stopping(index: int) -> NDArray[np.uint8]:
        if index == 11:
            raise KeyboardInterrupt
        return data.image(index)

    with pytest.raises(KeyboardInterrupt):
        cache(replace(data, reader=stopping), Costly())
    rest = Costly()
    kept = cache(data, rest)
    assert rest.encoded == 2 * 4  # two shards of five were whole
    assert {file.suffix for file in kept.folder.iterdir()} == {".safetensors"}


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"", lambda b: b"\0" * len(b)])
def test_a_damaged_shard_is_made_again(damage: Any) -> None:
    data = faces()
    kept = cache(data, Costly())
    everything, none = np.arange(14), np.zeros(14, dtype=np.bool_)
    before = kept.x0(everything, none)
    shard = sorted(kept.folder.iterdir())[1]
    shard.write_bytes(damage(shard.read_bytes()))
    again = Costly()
    assert torch.equal(cache(data, again).x0(everything, none), before)
    assert again.encoded == 2 * 5


def test_an_unreadable_image_is_named() -> None:
    def reader(index: int) -> NDArray[np.uint8]:
        raise ValueError(f"image {index} is no image")

    with pytest.raises(ValueError, match="image 0 is no image"):
        cache(replace(faces(), reader=reader), Costly())


def test_processes_share_the_work() -> None:
    """Each as if alone, in turn: the first finds the others' shards missing."""

    class Fake(World):
        def gather(self, value: Any) -> list[Any]:
            return [value] * self.size

        def wait(self) -> None:
            return None

    codec = Costly()
    with pytest.raises(ValueError, match=r"0000005.safetensors: written by another.*EMODC_CACHE"):
        cache(faces(), codec, Fake(rank=0, size=2))
    assert codec.encoded == 2 * (5 + 4)
    cache(faces(), codec, Fake(rank=0, size=2))
    assert codec.encoded == 28


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "t",
        "samples": 64,
        "phases": [{"objective": {"kind": "amdit"}}],
        "model": {"codec": {"kind": "pixel", "size": SIZE}},
        "augment": {"flip": 0.5, "rotate": 0, "zoom": 0, "shift": 0},
        **changes,
    }
    return parse_recipe(values, "t")


def test_a_sampler_with_a_cache_draws_the_same_samples() -> None:
    direct = Sampler(faces(), recipe(), SCHEDULE).batch(range(40))
    cached = Sampler(faces(), recipe(cache=True), SCHEDULE).batch(range(40))
    for name, values in vars(direct).items():
        assert torch.allclose(values.float(), getattr(cached, name).float(), atol=1e-5), name


def test_images_too_many_for_memory_are_read_when_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Sampler(faces(), recipe(), SCHEDULE).batch(range(9)).x0
    monkeypatch.setattr("emodc.training.batches._MOST_BYTES", 14 * SIZE * SIZE - 1)
    reads: list[int] = []
    data = faces()

    def counting(index: int) -> NDArray[np.uint8]:
        reads.append(index)
        return data.image(index)

    sampler = Sampler(replace(data, reader=counting), recipe(), SCHEDULE)
    assert torch.equal(sampler.batch(range(9)).x0, held)
    assert len(reads) == 1 + 9


def test_what_a_cache_cannot_do_is_refused() -> None:
    changed = AugmentSettings(flip=0.5, rotate=5, zoom=0, shift=0.1).model_dump()
    with pytest.raises(ValueError, match=r"cache: true .* set augment.rotate, augment.shift to 0"):
        recipe(cache=True, augment=changed)
