"""Arrays as images: which shapes and numbers are meant, and which could mean two things."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from emodc.faces.reading import as_rgb

Pixels = NDArray[np.uint8]
"""An image as an array: (H, W, 3) RGB or (H, W) gray."""

_ACCEPTED = (
    "an image is a path, the bytes of a file, an open file, a PIL image or a uint8 array of shape "
    "(H, W), (H, W, 1) or (H, W, 3), or (N, H, W), (N, H, W, 1) or (N, H, W, 3) for N images"
)


def is_array(thing: object) -> bool:
    """Tell whether something is an array or tensor of any library."""
    return hasattr(thing, "shape") and hasattr(thing, "dtype") and hasattr(thing, "__array__")


def images_of(array: Any, *, single: bool = False) -> list[Pixels]:
    """Return the images that an array or tensor holds.

    The last dimension holds the channels if it is 1 or 3, so (48, 48, 3) is one RGB image, and an
    array of three dimensions is N gray images otherwise. (3, H, W) can be meant as three gray
    images or as one whose channels come first, and is refused.

    Args:
        array: uint8, of shape (H, W), (H, W, 1), (H, W, 3), (N, H, W), (N, H, W, 1) or
            (N, H, W, 3); a numpy array, a torch tensor on any device, or what numpy can convert.
        single: it stands for one image, as an item of a list does.

    Returns:
        (H, W, 3) uint8 RGB each.

    Raises:
        ValueError: another shape or type; the message says what was meant and how to write it.
    """
    pixels = _to_numpy(array)
    shape = pixels.shape
    many = len(shape) == 4 or (len(shape) == 3 and shape[2] not in (1, 3))
    if len(shape) not in (2, 3, 4) or 0 in shape[many:]:
        raise ValueError(f"{_ACCEPTED}, not {pixels.dtype} {shape}")
    if len(shape) == 3 and many and shape[2] == 4:
        raise ValueError(
            f"an array of shape {shape} has four channels; take the first three, image[..., :3], "
            "or give a PIL image, whose transparent pixels become white"
        )
    if len(shape) == 3 and many and shape[0] == 3:
        raise ValueError(
            f"an array of shape {shape} can be three gray images or one whose channels come "
            "first; for one image, move the channels to the end (x.transpose(1, 2, 0) in numpy, "
            "x.permute(1, 2, 0) in torch); for three, give a list of them"
        )
    if len(shape) == 4 and shape[3] not in (1, 3):
        first = " with channels first; write x.transpose(0, 2, 3, 1), in torch x.permute(...)"
        told = first if shape[1] in (1, 3) else f" with {shape[3]} channels; there must be 1 or 3"
        raise ValueError(f"an array of shape {shape} looks like images{told}")
    if single and many and shape[0] != 1:
        raise ValueError(
            f"an array of shape {shape} in a list: each item must be one image; {_ACCEPTED}"
        )
    return [_rgb(image) for image in pixels] if many else [_rgb(pixels)]


def _rgb(image: Pixels) -> Pixels:
    return as_rgb(image[:, :, 0] if image.shape[2:] == (1,) else image)


def _to_numpy(array: Any) -> Pixels:
    """Return a uint8 array, read without conversion of its values."""
    if hasattr(array, "detach"):  # a torch tensor, which may lie on a GPU and carry gradients
        array = array.detach().cpu()
    kind = str(array.dtype).removeprefix("torch.")
    if kind == "uint8":
        return cast(Pixels, np.asarray(array))
    if kind.startswith(("float", "bfloat", "double", "half")):
        low, high = (float(array.min()), float(array.max())) if 0 not in array.shape else (0, 0)
        how = "(255 * x).round()" if low >= 0 and high <= 1 else "x.round(), once in 0..255,"
        raise ValueError(
            f"an image of {kind} with values from {low:g} to {high:g}: images are uint8, 0 to 255; "
            f"convert {how} to uint8"
        )
    raise ValueError(f"an image of {kind} numbers: {_ACCEPTED}; convert it to uint8, 0 to 255")
