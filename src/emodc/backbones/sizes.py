"""How large a network trained from scratch may be: settings may come from a stranger."""

from collections.abc import Sequence

MOST_WIDTH, MOST_DEPTH = 2048, 64
"""The most channels of a layer and blocks of a stage that settings may ask for."""

MOST_WEIGHTS = 200_000_000
"""The most weights that settings of a network trained from scratch may ask for: 0.8 GB."""


def check_sizes(widths: Sequence[int], depths: Sequence[int], embedding: int = 1) -> None:
    """Refuse sizes of a network of residual blocks that no small face needs, before it is built.

    Args:
        widths: channels of each stage; there may be more than depths.
        depths: blocks of each stage.
        embedding: width of what modulates the blocks.

    Raises:
        ValueError: a width, a depth or the embedding is beyond the bounds above, or they make
            more than `MOST_WEIGHTS` together.
    """
    if max(*widths, embedding) > MOST_WIDTH or max(depths) > MOST_DEPTH:
        raise ValueError(
            f"widths and embedding are at most {MOST_WIDTH}, depths at most {MOST_DEPTH}"
        )
    # Two 3x3 convolutions a block, and what scales and shifts its features.
    weights = sum(
        depth * width * (18 * width + 2 * embedding)
        for width, depth in zip(widths, depths, strict=False)
    )
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"widths and depths make about {weights:,} weights, more than {MOST_WEIGHTS:,}; "
            "make them smaller"
        )
