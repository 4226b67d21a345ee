"""A page to look at one case in; it opens from the disk and loads nothing but itself.

Volumes are drawn by NiiVue, whose script lies beside the pages or inside a page that
is to stand alone; pictures are drawn by a script of our own.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.files import write_text
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.pages import render
from medseg.reporting.drawing import OBJECT_FILL, OBJECT_LINE
from medseg.reporting.palette import color_of
from medseg.reporting.viewer.excerpt import (
    MOST_VOXELS,
    Excerpt,
    cut_excerpt,
    is_picture,
)
from medseg.reporting.viewer.niivue import SCRIPT, compressed_script, write_script
from medseg.reporting.viewer.payload import (
    StoredImage,
    as_text,
    nifti_header,
    packed,
    stored_image,
    stored_labels,
)
from medseg.types import LabelArray
from medseg.volume import LabelMap, Volume

ERROR_COLORS = {"missed": "#FF3D68", "invented": "#FFD23F", "confused": "#B18CFF"}
"""Of voxels in the reference only, in the prediction only, in another structure."""


@dataclass(frozen=True)
class ViewedCase:
    """What a page shows."""

    name: str
    """Of the case; never a patient's."""
    volume: Volume
    scheme: LabelScheme
    prediction: LabelMap | None = None
    """Values as in files, on the scan's grid."""
    reference: LabelMap | None = None
    channels: tuple[str, ...] = ()
    detail: str = ""
    """A line below the name, such as the score."""
    called: str = "prediction"
    """What the page calls the prediction."""
    notes: tuple[str, ...] = ()
    """What else a viewer must know, such as that the scan could not be read."""


def write_viewer_page(
    path: Path,
    case: ViewedCase,
    *,
    most_voxels: int = MOST_VOXELS,
    back: str = "",
    alone: bool = False,
) -> None:
    """Writes the page of a case, and NiiVue's script beside it where it needs one.

    Args:
        path: The HTML file.
        case: What to show.
        most_voxels: See `cut_excerpt`.
        back: Address of the page that lists the cases, relative to this one.
        alone: Whether the page carries NiiVue's script, a further megabyte, and needs
            no file beside it.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
        LabelError: A label map holds unknown values.
        OutputError: The page cannot be written.
    """
    page, needs_script = _page(case, most_voxels, back, alone=alone)
    if needs_script:
        write_script(path.parent)
    write_text(path, page)


def viewer_page(
    case: ViewedCase, *, most_voxels: int = MOST_VOXELS, back: str = ""
) -> str:
    """The page of a case as text that needs no other file.

    Args:
        case: What to show.
        most_voxels: See `cut_excerpt`.
        back: Address of the page that lists the cases, relative to this one.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
        LabelError: A label map holds unknown values.
    """
    return _page(case, most_voxels, back, alone=True)[0]


def stand_alone(page: str) -> str:
    """A page with NiiVue's script inside, and no way back to a list of cases.

    Args:
        page: The text of a page that `write_viewer_page` wrote.
    """
    inside = f'<script type="application/gzip" id="niivue-script">{_carried()}</script>'
    page = page.replace(f'<script src="{SCRIPT}"></script>', inside)
    return re.sub(r'<a href="[^"]*">← all cases</a>', "", page, count=1)


def _carried() -> str:
    return as_text(compressed_script())


def _page(
    case: ViewedCase, most_voxels: int, back: str, *, alone: bool
) -> tuple[str, bool]:
    """The page, and whether it needs NiiVue's script beside it."""
    excerpt = cut_excerpt(
        case.volume,
        prediction=_labelled(case.prediction, case),
        reference=_labelled(case.reference, case),
        channels=case.channels,
        most_voxels=most_voxels,
    )
    is_flat = 1 in excerpt.image.shape[1:]
    images = [stored_image(channel) for channel in excerpt.image]
    payloads = {f"image-{n}": packed(image.voxels) for n, image in enumerate(images)}
    labels = {"prediction": excerpt.prediction, "reference": excerpt.reference}
    there = {name: found for name, found in labels.items() if found is not None}
    payloads |= {name: packed(stored_labels(found)) for name, found in there.items()}
    needs_script = not is_flat and not alone
    page = render(
        "viewer.html",
        title=case.name,
        subtitle=case.detail,
        back=back,
        notes=_notes(excerpt, case, most_voxels),
        structures=_structures(case),
        objects=case.scheme.instances,
        maps={name: _called(name, case) for name in there},
        errors=ERROR_COLORS if len(there) == 2 else {},
        channels=excerpt.channels if not _is_colour(excerpt) else (),
        content=_content(excerpt, images, case, is_flat=is_flat),
        payloads=payloads,
        drawn_by="viewer_picture.js" if is_flat else "viewer_volume.js",
        is_flat=is_flat,
        script=SCRIPT if needs_script else "",
        carried=_carried() if alone and not is_flat else "",
    )
    return page, needs_script


def _labelled(label_map: LabelMap | None, case: ViewedCase) -> LabelMap | None:
    """Values as the page knows them: indices of structures, or object numbers."""
    if label_map is None:
        return None
    scheme, voxels = case.scheme, label_map.voxels
    if scheme.instances:
        outside = [scheme.background]
        outside += [] if scheme.ignore is None else [scheme.ignore]
        found: LabelArray = np.where(np.isin(voxels, outside), 0, voxels)
    else:
        found = scheme.to_indices(voxels, name=case.name)
        found[found == IGNORE_INDEX] = 0
    return LabelMap(found, label_map.affine)


def _called(name: str, case: ViewedCase) -> str:
    return case.called if name == "prediction" else name


def _is_colour(excerpt: Excerpt) -> bool:
    return excerpt.is_picture and len(excerpt.image) == 3


def _content(
    excerpt: Excerpt, images: list[StoredImage], case: ViewedCase, *, is_flat: bool
) -> dict[str, Any]:
    """What the scripts need beside voxels."""
    maps = {"prediction": excerpt.prediction, "reference": excerpt.reference}
    return {
        "name": case.name,
        "shape": list(excerpt.image.shape[1:]),
        "affine": excerpt.affine.tolist(),
        "toFile": excerpt.to_file.tolist(),
        "isPicture": excerpt.is_picture,
        "isLost": np.array_equal(np.abs(case.volume.affine), np.eye(4)),
        "isColour": _is_colour(excerpt),
        "images": [_image_content(image, excerpt) for image in images],
        "labelTypes": {
            name: str(stored_labels(found).dtype)
            for name, found in maps.items()
            if found is not None
        },
        "objects": case.scheme.instances,
        "structures": _structures(case),
        "lineColor": color_of(OBJECT_LINE),
        "fillColor": color_of(OBJECT_FILL),
        "errorColors": list(ERROR_COLORS.values()),
        "start": _start(excerpt),
        "channels": list(excerpt.channels),
        "called": {name: _called(name, case) for name in maps},
    }


def _image_content(image: StoredImage, excerpt: Excerpt) -> dict[str, Any]:
    voxels = image.voxels
    flat = voxels.ravel()[:: max(1, voxels.size // 500_000)]
    low, high = (
        float(np.percentile(flat, share)) * image.slope + image.intercept
        for share in (0.5, 99.7)
    )
    lowest, highest = (
        float(end) * image.slope + image.intercept
        for end in (voxels.min(), voxels.max())
    )
    if _is_colour(excerpt) and voxels.dtype == np.uint8:
        low, high = 0.0, 255.0
    if high <= low:
        low, high = lowest, max(highest, lowest + 1)
    return {
        "type": str(voxels.dtype),
        "slope": image.slope,
        "intercept": image.intercept,
        "low": low,
        "high": high,
        "lowest": lowest,
        "highest": highest,
        "header": nifti_header(image, excerpt.affine),
    }


def _start(excerpt: Excerpt) -> list[int]:
    """Where the crosshair begins: where most disagrees, else most structure."""
    prediction, reference = excerpt.prediction, excerpt.reference
    found = excerpt.structures
    if prediction is not None and reference is not None:
        wrong = prediction != reference
        found = wrong if wrong.any() else found
    if not found.any():
        return [size // 2 for size in found.shape]
    position = []
    for axis in range(3):  # each through the slices that were chosen before
        rest = np.count_nonzero(found, axis=tuple({0, 1, 2} - {axis}))
        position.append(int(rest.argmax()))
        keep = [slice(None)] * 3
        keep[axis] = slice(position[axis], position[axis] + 1)
        kept = np.zeros_like(found)
        kept[tuple(keep)] = found[tuple(keep)]
        found = kept
    return position


def _structures(case: ViewedCase) -> list[dict[str, Any]]:
    """Name, colour and volume of each structure."""
    scheme = case.scheme
    rows = []
    for index, name in enumerate(scheme.structures, start=1):
        row: dict[str, Any] = {"index": index, "name": name, "color": color_of(index)}
        maps = {"prediction": case.prediction, "reference": case.reference}
        for which, found in maps.items():
            if found is not None:
                row[which] = _amount(found, scheme, name)
        rows.append(row)
    return rows


def _amount(label_map: LabelMap, scheme: LabelScheme, name: str) -> str:
    """How much of a structure there is: objects, pixels or millilitres."""
    voxels = label_map.voxels
    if scheme.instances:
        outside = [scheme.background]
        outside += [] if scheme.ignore is None else [scheme.ignore]
        return f"{len(np.setdiff1d(np.unique(voxels), outside)):,}"
    count = np.count_nonzero(voxels == scheme.names[name])
    if is_picture(label_map.grid):
        return f"{count:,} px"
    return f"{count * label_map.grid.voxel_volume_mm3 / 1000:.3g} ml"


def _notes(excerpt: Excerpt, case: ViewedCase, most_voxels: int) -> list[str]:
    if not excerpt.notes:
        return [*case.notes]
    size = " × ".join(map(str, case.volume.grid.shape))
    return [
        *case.notes,
        f"This page carries at most {most_voxels / 1e6:.3g} million voxels of a case; "
        f"the scan has {size}. Shown: {'; '.join(excerpt.notes)}.",
    ]
