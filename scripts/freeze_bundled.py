"""Write tests/frozen/MODEL.json: the errors of the bundled models on some drawn faces.

    python scripts/freeze_bundled.py

Run it when the weights change; `tests/model/test_bundled.py` holds later code to these figures.
"""

import json
from pathlib import Path

from torch import Tensor

from emodc.data import open_data
from emodc.model.store import bundled_models, load_model

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "frozen"
DATA, STEPS = "synthetic:count=7,size=48", 10


def mean_errors(name: str, faces: str, steps: int) -> Tensor:
    """Return (N, K) float64: a bundled model's errors on drawn faces, averaged over the draws."""
    model, data = load_model(name), open_data(faces, "test")
    x0 = model.settings.codec.encode([data.image(i) for i in range(len(data))])
    return model.class_errors(x0, model.draws(steps)).double().mean(dim=2)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for bundled in bundled_models():
        errors = mean_errors(bundled, DATA, STEPS).tolist()
        rounded = [[round(value, 6) for value in row] for row in errors]
        frozen = {"data": DATA, "steps": STEPS, "errors": rounded}
        (FOLDER / f"{bundled}.json").write_text(json.dumps(frozen) + "\n")
