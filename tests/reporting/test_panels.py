import numpy as np
import pytest

from medseg.errors import GridMismatchError
from medseg.geometry import affine_from_spacing
from medseg.labels import LabelScheme
from medseg.reporting.panels import cut_panels, main_panel
from medseg.volume import LabelMap, Volume

SCHEME = LabelScheme(names={"spot": 1})
SHAPE = (30, 40, 20)
AFFINE = affine_from_spacing((1.0, 1.0, 3.0))


def scan(affine=AFFINE, shape=SHAPE):
    """A scan with one bright corner: right, anterior, superior in RAS+."""
    voxels = np.zeros((1, *shape), dtype=np.float32)
    voxels[0, shape[0] - 5 :, shape[1] - 5 :, shape[2] - 3 :] = 100
    return Volume(voxels, affine)


def spot(*corner, shape=SHAPE, affine=AFFINE, size=3):
    voxels = np.zeros(shape, dtype=np.uint8)
    voxels[tuple(slice(start, start + size) for start in corner)] = 1
    return LabelMap(voxels, affine)


def panels_by_name(volume, prediction, reference=None, scheme=SCHEME):
    found = cut_panels(
        volume, prediction=prediction, reference=reference, scheme=scheme
    )
    return {panel.plane: panel for panel in found}


CORNER = spot(26, 36, 17)


def test_right_is_left_anterior_and_superior_on_top():
    found = panels_by_name(scan(), CORNER)
    for plane in ("axial", "coronal"):
        rows, columns = np.nonzero(found[plane].prediction)
        assert columns.max() < 5  # the patient's right, on the left
        assert rows.max() < 5  # anterior, superior
    rows, columns = np.nonzero(found["sagittal"].prediction)
    assert columns.max() < 5  # anterior, on the left
    assert rows.max() < 5
    assert found["axial"].letters == "RLAP"


def test_a_scan_stored_the_other_way_looks_the_same():
    flipped = AFFINE.copy()
    flipped[0] *= -1
    flipped[0, 3] = SHAPE[0] - 1
    there = spot(1, 36, 17, affine=flipped)
    other = Volume(scan().voxels[:, ::-1], flipped)
    ours, same = panels_by_name(scan(), CORNER), panels_by_name(other, there)
    for plane, panel in ours.items():
        np.testing.assert_array_equal(panel.prediction, same[plane].prediction)
        np.testing.assert_array_equal(panel.image, same[plane].image)


def test_pixels_are_as_high_as_the_spacing_says():
    found = panels_by_name(scan(), CORNER)
    assert found["axial"].aspect == 1
    assert found["coronal"].aspect == found["sagittal"].aspect == 3


def test_the_slice_shows_where_the_two_differ_most():
    reference = spot(5, 5, 5)
    reference.voxels[20:28, 20:28, 12] = 1
    found = panels_by_name(scan(), spot(5, 5, 5), reference)
    assert found["axial"].caption == "axial 13 of 20"


def test_without_a_reference_the_slice_shows_most_structure():
    prediction = spot(5, 5, 5)
    prediction.voxels[20:28, 20:28, 9] = 1
    assert panels_by_name(scan(), prediction)["axial"].caption == "axial 10 of 20"


def test_without_any_structure_the_slice_is_the_middle_one():
    empty = LabelMap(np.zeros(SHAPE, dtype=np.uint8), AFFINE)
    panel = panels_by_name(scan(), empty)["axial"]
    assert panel.caption == "axial 11 of 20"
    assert panel.window is None


def test_small_structures_get_a_closer_look_that_holds_them():
    panel = panels_by_name(scan(), spot(10, 10, 10))["axial"]
    close = panel.closer()
    assert close.prediction.sum() == panel.prediction.sum() == 9
    assert close.prediction.size < 0.5 * panel.prediction.size


def test_a_picture_is_shown_as_it_is():
    colours = np.zeros((3, 20, 10, 1), dtype=np.uint8)
    colours[0, 15:, :3] = 255  # i to the right, j down: red on the upper right
    volume = Volume(colours, np.eye(4))
    mask = LabelMap((colours[0] > 0).astype(np.uint8), np.eye(4))
    (panel,) = cut_panels(volume, prediction=mask, reference=None, scheme=SCHEME)
    assert (panel.plane, panel.letters) == ("picture", "")
    assert panel.image.shape == (10, 20, 3)
    np.testing.assert_array_equal(panel.image[0, -1], [1, 0, 0])
    assert panel.prediction[:3, 15:].all()


def test_a_single_anatomical_slice_has_its_own_plane_only():
    shape = (30, 1, 20)
    flat = LabelMap(np.ones(shape, dtype=np.uint8), AFFINE)
    volume = Volume(np.zeros((1, *shape), dtype=np.float32), AFFINE)
    assert list(panels_by_name(volume, flat)) == ["coronal"]


def test_objects_keep_their_numbers_and_ignored_voxels_are_none():
    scheme = LabelScheme(names={"cell": 1}, instances=True, ignore=9)
    cells = LabelMap(np.full(SHAPE, 9, dtype=np.uint8), AFFINE)
    cells.voxels[3:6, 3:6, 3:6] = 7
    panel = panels_by_name(scan(), cells, scheme=scheme)["axial"]
    assert set(np.unique(panel.prediction)) == {0, 7}


def test_the_main_panel_shows_the_largest_area():
    prediction = spot(5, 5, 5)
    prediction.voxels[:, :, 10] = 1
    found = panels_by_name(scan(), prediction)
    assert main_panel(list(found.values())).plane == "axial"


def test_grey_values_lie_between_black_and_white_whatever_the_scan_holds():
    voxels = scan().voxels.copy()
    voxels[0, 0, 0, 0], voxels[0, 1, 0, 0] = np.nan, np.inf
    for panel in panels_by_name(Volume(voxels, AFFINE), CORNER).values():
        known = panel.image[np.isfinite(panel.image)]
        assert known.min() >= 0
        assert known.max() <= 1


def test_a_label_map_on_another_grid_is_refused():
    moved = spot(1, 1, 1, affine=affine_from_spacing((1.0, 1.0, 4.0)))
    with pytest.raises(GridMismatchError, match="label map and scan differ: spacing"):
        panels_by_name(scan(), moved)


def test_the_channel_that_shows_the_structures_is_pictured():
    noise = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    noise[1][CORNER.voxels > 0] += 20
    found = panels_by_name(Volume(noise, AFFINE), CORNER, CORNER)["axial"]
    assert found.channel == "channel 2 of 2"
    inside, outside = found.reference > 0, found.reference == 0
    assert found.image[inside].mean() > found.image[outside].mean() + 0.3
    assert panels_by_name(scan(), CORNER)["axial"].channel == ""


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)])
def test_no_side_is_named_where_the_geometry_is_lost(signs):
    lost = np.diag([*map(float, signs), 1.0])
    found = panels_by_name(scan(lost), spot(5, 5, 5, affine=lost))
    assert {panel.letters for panel in found.values()} == {""}


def test_the_slice_shows_the_reference_where_there_is_one():
    prediction = spot(5, 5, 5)
    prediction.voxels[10:28, 20:38, 12] = 1  # invented, and far larger
    reference = spot(5, 5, 5)
    found = panels_by_name(scan(), prediction, reference)
    assert all((panel.reference > 0).any() for panel in found.values())


def test_a_plane_across_thick_slices_counts_less():
    thick = affine_from_spacing((1.0, 1.0, 6.0))
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:20, 10:20, 5:15] = 1  # 100 mm² axial, 600 mm² elsewhere
    found = cut_panels(
        scan(thick), prediction=LabelMap(labels, thick), reference=None, scheme=SCHEME
    )
    assert main_panel(found).plane == "axial"


def test_no_structure_is_white_throughout():
    volume = scan()
    volume.voxels[0] = np.random.default_rng(0).normal(100, 5, SHAPE)
    volume.voxels[0, 5:8, 5:8, 5:8] = np.linspace(200, 260, 27).reshape(3, 3, 3)
    panel = panels_by_name(volume, spot(5, 5, 5))["axial"]
    inside = panel.image[panel.prediction > 0]
    assert (inside >= 1).mean() < 0.2
    assert np.ptp(inside) > 0.02
