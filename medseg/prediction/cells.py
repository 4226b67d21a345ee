"""What goes with the label map of a picture: outlines, and of objects a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.files import atomic_write
from medseg.inference.objects import object_values
from medseg.inference.predictor import Predictor
from medseg.inference.slide import SlideRun
from medseg.instances.measures import (
    OUTLINES,
    TABLES,
    measure_objects,
    scale_um,
)
from medseg.instances.stitching import ObjectTile
from medseg.io.object_files import ObjectFormat, write_objects
from medseg.plan import Plan
from medseg.prediction.attempts import Attempts
from medseg.prediction.pixel_scale import require_scale
from medseg.prediction.scan import Scan
from medseg.prediction.slide_objects import colours_of_slide, write_slide_objects
from medseg.prediction.slide_outlines import SlideOutlines
from medseg.progress import Progress
from medseg.reading import read_grid
from medseg.reading.slides import SlideReader
from medseg.reporting.outlines import (
    span_of,
    write_object_outlines,
    write_structure_outlines,
)
from medseg.tables import safe_frame, write_frame
from medseg.types import Affine, ImageArray, LabelArray, Spacing
from medseg.volume import LabelMap, Volume

BYTES_PER_PIXEL = 60
"""Of a picture in memory on its way through a network, with its objects."""
MOST_IN_MEMORY = 2 * 2**30
"""Bytes from which a picture goes through in tiles, where no budget is given."""
SMALL_SIDE, LARGE_SIDE = 1024, 2048
"""Sides of tiles: under a gigabyte of budget, and else."""


def write_cells(
    out: Path,
    name: str,
    label_map: LabelMap,
    volume: Volume,
    plan: Plan,
    *,
    attempts: Attempts,
    formats: Sequence[ObjectFormat] = (),
) -> list[str]:
    """Writes ``cells/NAME.csv``, outlines of a single picture, and further formats.

    Args:
        out: Folder of the label maps.
        name: Of the scan.
        label_map: Objects on the scan's own grid.
        volume: The scan.
        plan: Of the model.
        attempts: Told why a file cannot be written.
        formats: As what the objects are written besides, in ``outlines``.

    Returns:
        The files, below the folder.

    Raises:
        OutputError: The disk is full or read-only.
    """
    background = plan.labels.background
    names: list[str] = []
    file = f"{TABLES}/{name}.csv"
    with attempts.of("table of cells", out / file):
        table = measure_objects(
            label_map.voxels,
            volume.voxels,
            channels=tuple(channel.name for channel in plan.channels),
            background=background,
            flat=plan.spatial_dims == 2,
            spacing_um=scale_um(label_map.affine),
        )
        write_frame(out / file, table)
        names.append(file)
    if volume.grid.shape[2] == 1:
        file = f"{OUTLINES}/{name}.png"
        with attempts.of("outlines", out / file):
            write_object_outlines(
                out / file,
                volume.voxels[..., 0],
                label_map.voxels[..., 0],
                background=background,
            )
            names.append(file)
    for one in formats:
        file = f"{OUTLINES}/{name}{one.ending}"
        with attempts.of(f"{one} file", out / file):
            write_objects(
                out / file,
                label_map,
                as_format=one,
                name=plan.labels.structures[0],
                background=background,
            )
            names.append(file)
    return names


def write_structures(
    out: Path, name: str, label_map: LabelMap, volume: Volume, plan: Plan
) -> list[str]:
    """Writes a single picture with its structures outlined in their colours.

    Args:
        out: Folder of the label maps.
        name: Of the scan.
        label_map: Structures on the scan's own grid.
        volume: The scan.
        plan: Of the model.

    Returns:
        The file, below the folder.

    Raises:
        OutputError: It cannot be written.
    """
    file = f"{OUTLINES}/{name}.png"
    write_structure_outlines(
        out / file,
        volume.voxels[..., 0],
        label_map.voxels[..., 0],
        scheme=plan.labels,
    )
    return [file]


@dataclass(frozen=True)
class SlideResult:
    """What was written of a picture that went through in tiles."""

    outputs: tuple[str, ...]
    num_pixels: int
    num_objects: int
    affine: Affine
    notes: tuple[str, ...]


def is_slide(scan: Scan, predictor: Predictor) -> bool:
    """Whether a scan is a TIFF that would not fit into memory with its objects.

    Only pictures whose intensities are stretched as a whole can go through in tiles.
    """
    plan, files = predictor.plan, scan.files
    stretched = all(c.normalization == "stain" for c in plan.channels)
    if plan.instance_target == "none" or plan.spatial_dims == 3 or not stretched:
        return False
    if len(files) != 1 or files[0].suffix.lower() not in {".tif", ".tiff"}:
        return False
    most = predictor.settings.max_ram or MOST_IN_MEMORY
    try:
        with SlideReader(files[0]) as picture:
            return picture.num_pages == 1 and (
                picture.num_pixels * BYTES_PER_PIXEL > most
            )
    except UnreadableFileError:
        return False


def segment_slide(
    scan: Scan,
    predictor: Predictor,
    out: Path,
    *,
    attempts: Attempts,
    formats: Sequence[ObjectFormat] = (),
    progress: Progress,
) -> SlideResult:
    """Segments a picture tile by tile: label map, table, outlines, further formats.

    Args:
        scan: A TIFF.
        predictor: Of a plan of pictures whose objects are learned.
        out: Folder of the label maps.
        attempts: Told why what goes with the label map cannot be written.
        formats: As what the objects are written besides, in ``outlines``.
        progress: Shows progress.

    Raises:
        MedsegError: The picture cannot be read, its pixels are of another size than
            those of training, or a file cannot be written.
    """
    most = predictor.settings.max_ram or MOST_IN_MEMORY
    notes: list[str] = []
    affine = read_grid(scan.files[0]).affine
    require_scale(affine, predictor.plan, name=scan.name, notes=notes)
    suffix = scan.files[0].suffix.lower()
    names = [f"{scan.name}{suffix}", f"{TABLES}/{scan.name}.csv"]
    drawing = f"{OUTLINES}/{scan.name}.ome.tif"
    (out / OUTLINES).mkdir(parents=True, exist_ok=True)
    with (
        SlideReader(scan.files[0]) as picture,
        atomic_write(out / names[1]) as part,
        TemporaryDirectory(dir=out / OUTLINES, prefix=".drawn_") as drawn,
    ):
        run = SlideRun(
            predictor,
            picture,
            side=SMALL_SIDE if most < 2**30 else LARGE_SIDE,
            progress=progress,
        )
        with run.segmented(out, notes=notes) as objects:
            table = _TileTable(part, predictor.plan, scale_um(affine))
            span = span_of(picture.sample)
            colours = colours_of_slide(objects)
            outlines = SlideOutlines(Path(drawn), picture.shape, span, colours)

            def look(voxels: ImageArray, labels: LabelArray, tile: ObjectTile) -> None:
                table.add(voxels, labels, tile)
                outlines.add(voxels, labels, tile)

            objects.show(look)
            table.finish()
            with attempts.of("outlines", out / drawing):
                outlines.write(out / drawing)
                names.append(drawing)
            names += write_slide_objects(
                out,
                f"{OUTLINES}/{scan.name}",
                objects,
                attempts=attempts,
                formats=formats,
                name=predictor.plan.labels.structures[0],
                affine=affine,
            )
            # last, as it stands for all
            pixels = objects.write(out / names[0], affine)
        columns, rows = picture.shape
        count = objects.count
    notes.append(
        f"{columns} x {rows} pixels, segmented in tiles of {run.side} and stitched; "
        f"{count} objects"
    )
    return SlideResult(tuple(names), pixels, count, affine, tuple(notes))


@dataclass
class _TileTable:
    """The table of all objects, written tile by tile: each in the tile it begins in."""

    path: Path
    plan: Plan
    spacing_um: Spacing | None
    is_begun: bool = False

    def add(self, voxels: ImageArray, labels: LabelArray, tile: ObjectTile) -> None:
        """Measures the objects that begin in a tile's core.

        An object that reaches beyond the halo counts as far as that.

        Args:
            voxels: The picture in the tile and around it, shape (C, I, J).
            labels: Its objects, shape (I, J).
            tile: Where it lies.
        """
        own = begin_in_core(labels, tile)
        table = measure_objects(
            np.where(np.isin(labels, own), labels, 0)[..., None],
            voxels[..., None],
            channels=tuple(channel.name for channel in self.plan.channels),
            spacing_um=self.spacing_um,
        )
        sizes = self.spacing_um or (1.0, 1.0, 1.0)
        unit = "px" if self.spacing_um is None else "um"
        for axis, part, size in zip("xy", tile.outer, sizes, strict=False):
            table[[f"{axis}_first_px", f"{axis}_stop_px"]] += part.start
            table[f"{axis}_{unit}"] += part.start * size
        values = object_values(int(labels.max(initial=0)), self.plan.labels)
        table["label"] = values[table["label"].astype(int)]
        safe_frame(table).to_csv(
            self.path,
            mode="a",
            header=not self.is_begun,
            index=False,
            float_format="%.6g",
        )
        self.is_begun = True

    def finish(self) -> None:
        """Makes sure that there is a file, whatever was found."""
        self.path.touch()


def begin_in_core(labels: LabelArray, tile: ObjectTile) -> np.ndarray:
    """Numbers of the objects whose first voxel, row by row, lies in a tile's core.

    Args:
        labels: Of the tile and what lies around it.
        tile: Where it lies.
    """
    numbers, first = np.unique(labels, return_index=True)
    where = np.unravel_index(first, labels.shape)
    inside = np.logical_and.reduce(
        [
            (axis >= part.start) & (axis < part.stop)
            for axis, part in zip(where, tile.inner, strict=True)
        ]
    )
    return np.asarray(numbers[inside & (numbers > 0)])
