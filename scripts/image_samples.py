"""Draw the README's image: the sample faces, each with the model's answer.

python scripts/image_samples.py docs/samples.png
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from emodc import EmotionClassifier, Prediction

SIDE, BAR, COLUMNS = 220, 92, 4
SHOWN = 3  # classes under each face


def tile(row: Prediction, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    """Return a face, cut out around its box, over bars of the most probable classes."""
    if row.file is None or row.box is None or row.probabilities is None:
        raise ValueError(f"no face to show: {row.error}")
    x0, y0, x1, y1 = row.box
    reach = 0.6 * max(x1 - x0, y1 - y0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    with Image.open(row.file) as image:
        face = image.convert("RGB").crop(
            (round(x - reach), round(y - reach), round(x + reach), round(y + reach))
        )
    canvas = Image.new("RGB", (SIDE, SIDE + BAR), "white")
    canvas.paste(face.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    draw = ImageDraw.Draw(canvas)
    best = sorted(row.probabilities.items(), key=lambda item: -item[1])[:SHOWN]
    for line, (name, probability) in enumerate(best):
        top = SIDE + 6 + line * 28
        draw.rectangle((6, top, 6 + round((SIDE - 12) * probability), top + 24), fill="#bcd4ee")
        draw.text((11, top + 3), f"{name} {probability:.2f}", fill="black", font=font)
    return canvas


def main(output: Path) -> None:
    """Write the image."""
    rows = EmotionClassifier.from_pretrained("face48").predict("samples", steps=100)
    font = ImageFont.load_default(size=15)
    tiles = [tile(row, font) for row in rows]
    lines = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, lines * (SIDE + BAR)), "white")
    for number, image in enumerate(tiles):
        sheet.paste(image, (number % COLUMNS * SIDE, number // COLUMNS * (SIDE + BAR)))
    sheet.save(output, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
