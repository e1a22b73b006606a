"""Codecs: from face crops to the space in which a backbone works, and back."""

from emodc.codecs.base import Codec
from emodc.codecs.normalised import NormalisedCodec
from emodc.codecs.pixel import PixelCodec
from emodc.codecs.vae import VAECodec

__all__ = ["Codec", "NormalisedCodec", "PixelCodec", "VAECodec"]
