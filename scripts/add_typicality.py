"""Store what typical faces look like with a model that was calibrated before that was measured.

    python scripts/add_typicality.py src/emodc/assets/models/face48 --data fer2013plus:PATH

Everything else about the model stays as it is; `emodc calibrate` measures it along with the rest.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from emodc.calibration.typicality import fit_typicality
from emodc.data import open_data
from emodc.model.store import load_model, save_model

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the model; written in place")
    parser.add_argument("--data", required=True, help="NAME:PATH; its validation split is used")
    parser.add_argument("--work", type=Path, help="folder of errors, to resume from")
    asked = parser.parse_args()
    model = load_model(asked.folder)
    known = fit_typicality(model, open_data(asked.data, "validation"), folder=asked.work)
    save_model(replace(model, typicality=known), asked.folder, torch.float16)
    print(f"{len(known.distances)} faces give the p-values")
