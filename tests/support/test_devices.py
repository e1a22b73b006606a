import pytest
import torch

from emodc.support.devices import choose_device, when_memory_is_full


def test_a_device_is_one_that_this_machine_has() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else None
    expected = expected or ("mps" if torch.backends.mps.is_available() else "cpu")
    assert choose_device("auto").type == expected
    for name in ("tpu", "", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=r"accepted are auto, .*cpu"):
            choose_device(name)


def test_full_memory_is_one_line_with_the_remedy() -> None:
    with (
        pytest.raises(ValueError, match=r"^out of memory: lower rows \(tried 3 GiB\)$"),
        when_memory_is_full("lower rows"),
    ):
        raise torch.OutOfMemoryError("tried 3 GiB\nand more lines")
    with pytest.raises(RuntimeError, match="else"), when_memory_is_full("lower rows"):
        raise RuntimeError("something else")
