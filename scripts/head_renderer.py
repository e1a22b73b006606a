"""A z-buffer renderer for a painted head: one light that casts shadows, a fill, ambient light.

The colors come from where a point lies on the mesh at rest, so that brows, lips and hairline move
with the expression.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PARTS = ("body", "eye", "teeth", "tongue", "eyelashes-2")

LIGHT = np.array([0.35, 0.45, 0.82]) / np.linalg.norm([0.35, 0.45, 0.82])
FILL = np.array([-0.7, 0.1, 0.7]) / np.linalg.norm([-0.7, 0.1, 0.7])


@dataclass(frozen=True)
class Person:
    """Whom an image shows.

    Attributes:
        sex, ancestry: choose MakeHuman's shape targets; the shares of the ancestries add up to 1.
        skin, hair: albedo, linear RGB in [0, 1].
        yaw: degrees, positive turns the face to the right of the image.
    """

    sex: str
    ancestry: dict[str, float]
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    yaw: float


@dataclass(frozen=True)
class Mesh:
    """The base mesh.

    Attributes:
        vertices: (V, 3) decimetres, x to the subject's left, y up, z to the front.
        uv: (T, 2) texture coordinates.
        triangles: (F, 3) indices into `vertices`; uv_triangles: (F, 3) into `uv`.
        parts: (F,) index into `PARTS`.
    """

    vertices: Array
    uv: Array
    triangles: NDArray[np.intp]
    uv_triangles: NDArray[np.intp]
    parts: NDArray[np.intp]


def normals_of(vertices: Array, triangles: NDArray[np.intp]) -> Array:
    """Return unit vertex normals (V, 3), the area-weighted means of those of the triangles."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, triangles[:, i], np.cross(b - a, c - a))
    lengths: Array = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(lengths, 1e-12)


def rasterize(
    points: Array, triangles: NDArray[np.intp], size: int
) -> tuple[Array, NDArray[np.intp], Array]:
    """Draw triangles into a z-buffer.

    Args:
        points: (V, 3): x and y in pixels, and depth, smaller is nearer.
        triangles: (F, 3) indices into `points`.
        size: side of the square buffer in pixels.

    Returns:
        Depth (size, size), infinite where nothing is; index of the triangle, -1 where nothing is;
        barycentric coordinates (size, size, 3).
    """
    depth = np.full((size, size), np.inf)
    which = np.full((size, size), -1, dtype=np.intp)
    bary = np.zeros((size, size, 3))
    corners = points[triangles]
    low = np.clip(np.floor(corners[..., :2].min(axis=1)).astype(int), 0, size)
    high = np.clip(np.ceil(corners[..., :2].max(axis=1)).astype(int) + 1, 0, size)
    edges1, edges2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = edges1[:, 0] * edges2[:, 1] - edges1[:, 1] * edges2[:, 0]
    for f in np.flatnonzero((high > low).all(axis=1) & (np.abs(areas) > 1e-9)):
        (x0, y0), (x1, y1) = low[f], high[f]
        dx = np.arange(x0, x1)[None, :] + 0.5 - corners[f, 0, 0]
        dy = np.arange(y0, y1)[:, None] + 0.5 - corners[f, 0, 1]
        w1 = (dx * edges2[f, 1] - dy * edges2[f, 0]) / areas[f]
        w2 = (dy * edges1[f, 0] - dx * edges1[f, 1]) / areas[f]
        w0 = 1 - w1 - w2
        z = w0 * corners[f, 0, 2] + w1 * corners[f, 1, 2] + w2 * corners[f, 2, 2]
        region = np.s_[y0:y1, x0:x1]
        seen = (w0 >= 0) & (w1 >= 0) & (w2 >= 0) & (z < depth[region])
        depth[region][seen] = z[seen]
        which[region][seen] = f
        bary[region][seen] = np.stack([w0, w1, w2], axis=-1)[seen]
    return depth, which, bary


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def hair_at(rest: Array) -> Array:
    """Return how far (0 to 1) points (..., 3) of the resting base mesh lie within the hair."""
    y, z = rest[..., 1], rest[..., 2]
    line = np.interp(z, [-0.6, 0.3, 0.5, 0.75, 1.0, 1.3], [6.75, 6.95, 7.1, 7.6, 7.84, 7.88])
    return smoothstep(0.0, 0.1, y - line)


def brow_at(rest: Array) -> Array:
    """Return how much (0 to 1) points (..., 3) of the resting base mesh belong to a brow."""
    x, y, z = np.abs(rest[..., 0]), rest[..., 1], rest[..., 2]
    middle = np.interp(x, [0.1, 0.25, 0.4, 0.5, 0.6], [7.455, 7.48, 7.5, 7.485, 7.44])
    half = np.interp(x, [0.1, 0.2, 0.4, 0.6], [0.03, 0.035, 0.026, 0.01])
    inside = smoothstep(1.3, 0.7, np.abs(y - middle) / half)
    ends = smoothstep(0.11, 0.19, x) * smoothstep(0.62, 0.54, x)
    return inside * ends * (z > 0.8)


def blend(a: Array, b: tuple[float, float, float] | Array, amount: Array) -> Array:
    """Mix color `b` into the colors `a` (..., 3)."""
    return a + (np.asarray(b) - a) * amount[..., None]


def color_of(
    parts: NDArray[np.intp], rest: Array, masks: dict[str, Array], person: Person
) -> Array:
    """Return the albedo (N, 3) of points from where they lie on the resting base mesh."""
    skin = np.array(person.skin)
    cheeks = np.exp(-(((np.abs(rest[:, 0]) - 0.42) / 0.2) ** 2) - ((rest[:, 1] - 6.98) / 0.18) ** 2)
    color = blend(np.tile(skin, (len(rest), 1)), skin * [1.0, 0.72, 0.7], 0.5 * cheeks)
    color = blend(color, skin * [0.82, 0.48, 0.48], 0.8 * masks["lips"])
    color = blend(color, skin * [0.8, 0.7, 0.68], 0.6 * masks["eyelids"])
    color = blend(color, (0.10, 0.02, 0.02), masks["inside-mouth"])
    streaks = 0.8 + 0.4 * np.random.default_rng(0).random(len(rest))
    hair = np.array(person.hair) * streaks[:, None]
    color = blend(color, hair, hair_at(rest) * (1 - masks["ears"]))
    color = blend(color, hair, 0.9 * brow_at(rest))
    neckline = 5.72 + 0.6 * smoothstep(0.55, 1.0, np.abs(rest[:, 0]))
    color = blend(color, (0.03, 0.05, 0.12), smoothstep(0.0, -0.03, rest[:, 1] - neckline))
    # The eyeballs look along z; their axes pass the resting mesh at (+-0.31, 7.284).
    off_axis = np.hypot(np.abs(rest[:, 0]) - 0.31, rest[:, 1] - 7.284)
    iris = blend(np.full_like(color, 0.72), (0.10, 0.05, 0.025), smoothstep(0.066, 0.058, off_axis))
    iris = blend(iris, (0.005, 0.005, 0.005), smoothstep(0.032, 0.026, off_axis))
    plain = {
        "teeth": (0.6, 0.57, 0.5),
        "tongue": (0.35, 0.10, 0.10),
        "eyelashes-2": (0.02, 0.015, 0.01),
    }
    color = np.where((parts == PARTS.index("eye"))[:, None], iris, color)
    for name, value in plain.items():
        color = np.where((parts == PARTS.index(name))[:, None], value, color)
    return color


def shadow_at(points: Array, world: Array, triangles: NDArray[np.intp]) -> Array:
    """Return how much (0 to 1) of the light reaches points (N, 3) past the mesh `world` (V, 3)."""
    size, soft = 1024, 3
    right = np.cross([0.0, 1.0, 0.0], LIGHT)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(LIGHT, right), -LIGHT], axis=1)
    seen, hit = world @ axes, points @ axes
    origin, scale = seen[:, :2].min(axis=0), size / np.ptp(seen[:, :2], axis=0).max()
    seen[:, :2] = (seen[:, :2] - origin) * scale
    column, row = ((hit[:, :2] - origin) * scale).astype(int).T
    depth, _, _ = rasterize(seen, triangles, size)
    depth = np.pad(depth, soft, constant_values=np.inf)
    lit = np.zeros(len(points))
    for dy in range(2 * soft + 1):
        for dx in range(2 * soft + 1):
            lit += hit[:, 2] < depth[row + dy, column + dx] + 0.07
    return lit / (2 * soft + 1) ** 2


def render(
    mesh: Mesh, posed: Array, masks: dict[str, Array], person: Person, size: int
) -> NDArray[np.uint8]:
    """Draw the head.

    Args:
        mesh: the base mesh at rest, which says where the colors go.
        posed: (V, 3) the vertices with shape and expression applied.
        masks: (n, n) by name, in texture space: where the skin is what.
        person: colors and yaw.
        size: side of the image in pixels.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    eyes = posed[np.unique(mesh.triangles[mesh.parts == PARTS.index("eye")])].mean(axis=0)
    angle = np.radians(person.yaw)
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    world = (posed - eyes * [0, 1, 1]) @ turn.T
    head = world[mesh.triangles][..., 1].mean(axis=1) > -2.6
    triangles, uv_triangles, parts = mesh.triangles[head], mesh.uv_triangles[head], mesh.parts[head]
    normals = normals_of(world, mesh.triangles)
    hair = hair_at(mesh.vertices)
    world = world + normals * (0.09 * hair)[:, None] * (mesh.vertices[:, 1] > 7.4)[:, None]

    distance, focal = 9.0, 3.3 * size
    toward = distance - world[:, 2]
    screen = np.stack(
        [
            size / 2 + focal * world[:, 0] / toward,
            size / 2 - focal * (world[:, 1] + 0.1) / toward,
            toward,
        ],
        axis=1,
    )
    _, which, bary = rasterize(screen, triangles, size)
    drawn = which >= 0
    f, weights = which[drawn], bary[drawn][..., None]
    point = (world[triangles[f]] * weights).sum(axis=1)
    normal = (normals[triangles[f]] * weights).sum(axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rest = (mesh.vertices[triangles[f]] * weights).sum(axis=1)
    uv = (mesh.uv[uv_triangles[f]] * weights).sum(axis=1)
    sampled = {}
    for name, mask in masks.items():
        n = len(mask)
        column, row = (np.clip(uv * n, 0, n - 1).astype(int)).T
        sampled[name] = np.where(parts[f] == 0, mask[n - 1 - row, column], 0.0)
    albedo = color_of(parts[f], rest, sampled, person)

    lit = shadow_at(point, world, triangles)
    # Wrapped diffuse light imitates what skin scatters below its surface, most of it red.
    wrap = np.array([0.35, 0.2, 0.15])
    direct = np.clip(((normal @ LIGHT)[:, None] + wrap) / (1 + wrap), 0, 1) * lit[:, None]
    fill = np.clip(normal @ FILL, 0, 1)[:, None]
    ambient = 0.22 + 0.1 * normal[:, 1:2]
    view = np.array([0.0, 0.15, distance]) - point
    half = LIGHT + view / np.linalg.norm(view, axis=1, keepdims=True)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = np.clip((normal * half).sum(axis=1), 0, 1)
    wet = parts[f] == PARTS.index("eye")
    specular = np.where(wet, 0.9 * shine**200, 0.05 * shine**18) * lit
    color = albedo * (0.95 * direct + 0.25 * fill + ambient) + specular[:, None]

    image = np.empty((size, size, 3))
    image[:] = np.linspace(0.42, 0.25, size)[:, None, None] * np.array([0.92, 0.97, 1.0])
    image[drawn] = color
    encoded: NDArray[np.uint8] = (np.clip(image, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    return encoded
