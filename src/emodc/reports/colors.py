"""Colors of classes that people with any kind of color vision can tell apart.

Okabe and Ito, "Color Universal Design" (2008), in an order in which neighbors differ in lightness,
too. Where there are more classes than colors, they begin again: text or position tells them apart.
"""

_COLORS = (
    (153, 153, 153),  # gray
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (240, 228, 66),  # yellow
)

Color = tuple[int, int, int]


def class_color(place: int) -> Color:
    """Return the color of a class, red, green and blue in 0..255.

    Args:
        place: of the class in label order.
    """
    return _COLORS[place % len(_COLORS)]
