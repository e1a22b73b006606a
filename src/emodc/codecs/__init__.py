"""Codecs: from face crops to the space in which a backbone works, and back."""

from emodc.codecs.base import Codec
from emodc.codecs.normalized import NormalizedCodec
from emodc.codecs.pixel import PixelCodec
from emodc.codecs.vae import VAECodec

__all__ = ["Codec", "NormalizedCodec", "PixelCodec", "VAECodec"]
