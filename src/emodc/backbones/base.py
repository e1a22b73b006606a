"""The one interface between the method and a network."""

from typing import Protocol

from torch import Tensor


class Backbone(Protocol):
    """A network that predicts noise under several prompts at once.

    Prompt ids are classes 0..K-1 in label order, null = K, non-class = K + 1 (see
    :mod:`emodc.prompts`). Predictions are of the noise eps, whatever the network predicts
    inside.

    Attributes:
        shares_trunk: whether further prompts for an image cost little; if each costs a pass of
            its own, scoring drops classes that cannot win.
    """

    shares_trunk: bool

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise in ``xt`` under each prompt.

        Args:
            xt: (B, C, H, W) float32 noised images.
            t: (B,) int64 timesteps in 0..T-1.
            prompts: (B, P) int64 prompt ids.

        Returns:
            (B, P, C, H, W) float.
        """
