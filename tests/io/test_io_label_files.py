"""Label maps as other programs store them: names, layers, masks, noise, orientation."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.errors import GridMismatchError, LabelError, MissingFileError
from medseg.geometry import Grid
from medseg.io import read_label_map, read_volume, write_label_map, write_volume
from medseg.io.label_reading import read_named_labels
from medseg.labels import LabelScheme
from medseg.volume import LabelMap, Volume

TUMOUR = np.zeros((6, 5, 4), dtype=np.uint8)
TUMOUR[1:3, 1:4, 1:3] = 1
OEDEMA = np.zeros_like(TUMOUR)
OEDEMA[3:5, 1:4, 1:3] = 1
SCHEME = LabelScheme(names={"tumour": 1, "oedema": 2})
AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])

Segments = list[tuple[str, int, int]]


def seg_nrrd(path: Path, layers: list[np.ndarray], segments: Segments) -> Path:
    """A segmentation as 3D Slicer writes it: (name, value, layer) of each segment."""
    data = layers[0] if len(layers) == 1 else np.stack(layers)
    directions = "(1,0,0) (0,1,0) (0,0,2)"
    kinds = "domain domain domain"
    if len(layers) > 1:
        directions, kinds = f"none {directions}", f"list {kinds}"
    head = [
        "NRRD0004",
        "type: uchar",
        f"dimension: {data.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, data.shape))}",
        f"space directions: {directions}",
        f"kinds: {kinds}",
        "encoding: raw",
        "space origin: (0,0,0)",
    ]
    for number, (name, value, layer) in enumerate(segments):
        head += [
            f"Segment{number}_Name:={name}",
            f"Segment{number}_LabelValue:={value}",
            f"Segment{number}_Layer:={layer}",
        ]
    path.write_bytes(("\n".join(head) + "\n\n").encode() + data.tobytes(order="F"))
    return path


def nifti(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return path


@pytest.mark.parametrize("names", [("tumour", "oedema"), ("Tumour ", "OEDEMA")])
def test_names_decide_where_values_do_not(tmp_path, names):
    swapped = seg_nrrd(
        tmp_path / "a.seg.nrrd",
        [TUMOUR * 2 + OEDEMA],
        [(names[0], 2, 0), (names[1], 1, 0)],
    )
    found = read_label_map(swapped, scheme=SCHEME).voxels
    np.testing.assert_array_equal(found, TUMOUR + 2 * OEDEMA)
    np.testing.assert_array_equal(read_label_map(swapped).voxels, TUMOUR * 2 + OEDEMA)


def test_a_scheme_of_other_names_speaks_of_values(tmp_path):
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [TUMOUR], [("Segment_1", 1, 0)])
    found = read_label_map(path, scheme=LabelScheme(names={"lesion": 1}))
    np.testing.assert_array_equal(found.voxels, TUMOUR)


def test_segments_that_the_scheme_lacks_are_refused(tmp_path):
    segments = [("tumour", 2, 0), ("skull", 1, 0)]
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [TUMOUR * 2 + OEDEMA], segments)
    with pytest.raises(LabelError, match="holds skull, absent from the scheme"):
        read_label_map(path, scheme=SCHEME)


def test_layers_apart_are_one_label_map(tmp_path):
    segments = [("tumour", 1, 0), ("oedema", 1, 1)]
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [TUMOUR, OEDEMA], segments)
    found = read_named_labels(path)
    np.testing.assert_array_equal(found.label_map.voxels, TUMOUR + 2 * OEDEMA)
    assert found.names == {"tumour": 1, "oedema": 2}


def test_values_of_layers_are_kept_where_they_are_distinct(tmp_path):
    segments = [("tumour", 4, 0), ("oedema", 7, 1)]
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [TUMOUR * 4, OEDEMA * 7], segments)
    assert read_named_labels(path).names == {"tumour": 4, "oedema": 7}
    np.testing.assert_array_equal(read_label_map(path).voxels, 4 * TUMOUR + 7 * OEDEMA)


@pytest.mark.parametrize("second", [TUMOUR, np.ones_like(TUMOUR)])
def test_layers_that_overlap_are_refused_by_name(tmp_path, second):
    segments = [("tumour", 1, 0), ("brain", 1, 1)]
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [TUMOUR, second], segments)
    with pytest.raises(LabelError, match=r"tumour \(layer 0\) and brain \(layer 1\)"):
        read_label_map(path)


def test_a_folder_of_masks_is_a_label_map(tmp_path):
    nifti(tmp_path / "m" / "tumour.nii.gz", TUMOUR)
    nifti(tmp_path / "m" / "oedema.nii.gz", OEDEMA * 255)
    nifti(tmp_path / "m" / "skull.nii.gz", 1 - TUMOUR)
    found = read_label_map(tmp_path / "m", scheme=SCHEME)
    np.testing.assert_array_equal(found.voxels, TUMOUR + 2 * OEDEMA)
    with pytest.raises(LabelError, match=r"oedema and skull share 12 voxels"):
        read_label_map(tmp_path / "m")


def test_masks_that_are_missing_or_elsewhere_are_named(tmp_path):
    nifti(tmp_path / "m" / "tumour.nii.gz", TUMOUR)
    with pytest.raises(MissingFileError, match="no mask of oedema"):
        read_label_map(tmp_path / "m", scheme=SCHEME)
    nifti(tmp_path / "m" / "oedema.nii.gz", OEDEMA[:-1])
    with pytest.raises(GridMismatchError, match=r"tumour\.nii\.gz against the other"):
        read_label_map(tmp_path / "m")


@pytest.mark.parametrize("value", [0.9999999, 1.00005, 0.99995])
def test_what_rounding_left_is_a_whole_number(tmp_path, value):
    path = nifti(tmp_path / "a.nii.gz", (TUMOUR * value).astype(np.float32))
    np.testing.assert_array_equal(read_label_map(path).voxels, TUMOUR)


def one_hot(folder: Path) -> Path:
    stacked = np.stack([1 - TUMOUR - OEDEMA, TUMOUR, OEDEMA], axis=3)
    return nifti(folder / "a.nii.gz", stacked)


def colours(folder: Path) -> Path:
    picture = np.zeros((8, 9, 3), dtype=np.uint8)
    picture[2:4, 2:4] = (128, 0, 0)
    picture[5:7, 2:4] = (0, 128, 7)
    Image.fromarray(picture).save(folder / "a.png")
    return folder / "a.png"


def not_a_number(folder: Path) -> Path:
    voxels = TUMOUR.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    return nifti(folder / "a.nii.gz", voxels)


def interpolated(folder: Path) -> Path:
    return nifti(folder / "a.nii.gz", (TUMOUR * 0.5).astype(np.float32))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (one_hot, "one-hot: 3 channels"),
        (colours, "a colour mask: 3 channels with 3 colours"),
        (not_a_number, "1 of 120 voxels are NaN"),
        (interpolated, "resampled with interpolation"),
    ],
)
def test_what_is_no_label_map_is_said(tmp_path, make, reason):
    with pytest.raises(LabelError, match=reason):
        read_label_map(make(tmp_path))


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "RGBA", "LA"])
def test_pictures_of_labels_mean_the_same_in_every_mode(tmp_path, mode):
    values = np.zeros((8, 9), dtype=np.uint8)
    values[2:5, 3:6] = 7
    picture = Image.fromarray(values)
    if mode == "P":
        picture = picture.convert("P")
        picture.putpalette([n % 256 for n in range(768)])
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.png")
    found = read_label_map(tmp_path / "a.png").voxels[..., 0].T
    np.testing.assert_array_equal(found, values)


ORIENTATIONS = {
    "flipped": lambda v: (
        v[::-1],
        np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0]]),
    ),
    "permuted": lambda v: (
        v.transpose(1, 2, 0),
        np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]),
    ),
    "both": lambda v: (
        v.transpose(2, 0, 1)[:, ::-1],
        np.array([[0, -1, 0, 5], [0, 0, 1, 0], [1, 0, 0, 0]]),
    ),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_same_voxels_in_another_orientation_are_turned(tmp_path, name):
    voxels, matrix = ORIENTATIONS[name](TUMOUR + 2 * OEDEMA)
    affine = AFFINE @ np.vstack([matrix, [0, 0, 0, 1]])
    write_label_map(tmp_path / "a.nii.gz", LabelMap(voxels, affine))
    grid = Grid(TUMOUR.shape, AFFINE)
    assert grid.mismatch(read_label_map(tmp_path / "a.nii.gz").grid)
    found = read_label_map(tmp_path / "a.nii.gz", grid=grid)
    np.testing.assert_array_equal(found.voxels, TUMOUR + 2 * OEDEMA)
    assert not grid.mismatch(found.grid)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_channels_in_another_orientation_are_stacked(tmp_path, name):
    image = np.random.default_rng(0).normal(size=TUMOUR.shape).astype(np.float32)
    voxels, matrix = ORIENTATIONS[name](image)
    affine = AFFINE @ np.vstack([matrix, [0, 0, 0, 1]])
    write_volume(tmp_path / "a.nii", Volume(image[None], AFFINE))
    write_volume(tmp_path / "b.nii", Volume(voxels[None], affine))
    both = read_volume([tmp_path / "a.nii", tmp_path / "b.nii"])
    np.testing.assert_array_equal(both.voxels[1], image)


def test_another_place_is_not_turned(tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] = 7
    write_label_map(tmp_path / "a.nii", LabelMap(TUMOUR, moved))
    grid = Grid(TUMOUR.shape, AFFINE)
    assert grid.mismatch(read_label_map(tmp_path / "a.nii", grid=grid).grid)
