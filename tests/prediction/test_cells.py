"""The way of single cells: trained, cut apart, predicted whole and in tiles, tested."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from skimage.segmentation import find_boundaries
from small_cells import cell_settings

from medseg.augmentation.settings import AugmentationSettings
from medseg.calibration.object_decoding import start_decoding
from medseg.conversion.export import export
from medseg.datasets import load_dataset
from medseg.errors import DatasetError, ModelError
from medseg.inference.settings import InferenceSettings
from medseg.instances.object_colouring import neighbours
from medseg.instances.stitching import TileGrid
from medseg.io import read_label_map, read_volume
from medseg.io.object_files import ObjectFormat, parse_formats, write_objects
from medseg.labels import LabelScheme
from medseg.model import load_model
from medseg.prediction.cells import begin_in_core
from medseg.prediction.predict import predict
from medseg.prediction.segmenter import ScanOptions
from medseg.runs.config import RunConfig
from medseg.runs.train import TrainedRun, train
from medseg.sampling import PatchSampler, SamplingSettings
from medseg.scoring.evaluate import evaluate
from medseg.scoring.test_split import score_test_split
from medseg.store import Store
from medseg.testing.tiny_cells import make_tiny_cells
from medseg.training.batches import BatchSource
from medseg.volume import LabelMap

TORCH = InferenceSettings(engine="torch", precision="float32", overlap=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A tiny network that has learned tiny cells."""
    folder = tmp_path_factory.mktemp("cells")
    values = cell_settings(make_tiny_cells(folder / "data"), steps=60)
    values["tracking"] = {"enabled": False}
    return train(RunConfig.model_validate(values), folder / "run", device="cpu")


def as_tiff(path: Path, picture: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    path.parent.mkdir(exist_ok=True)
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, tile=(32, 32), photometric=kind)


def test_objects_are_learned_and_cut_apart(run):
    model = load_model(run.folder)
    assert model.plan.instance_target == "border"
    assert {c.normalization for c in model.plan.channels} == {"stain"}
    assert model.decoding is not None
    assert "held-out cases it was chosen on" in model.decoding.reason
    assert "seeds above" in (run.folder / "model" / "card.md").read_text()
    assert run.evaluation is not None
    assert run.evaluation.objects["ap_0.5"].mean() > 0.2
    assert "IoU 0.5" in run.evaluation.to_text()


def test_rims_are_a_voxel_thick_however_patches_are_scaled(run, tmp_path):
    store = Store.open(next(run.folder.parent.rglob("store.json")).parent)
    cases = [store.case(case_id) for case_id in store.case_ids]
    assert all(case.is_painted for case in cases)
    sampling = SamplingSettings(strategy="uniform")
    sampler = PatchSampler(cases, patch_size=(48, 48, 1), settings=sampling, seed=0)
    zoom = {"scaling_probability": 1.0, "scaling": (1.6, 1.6), "flip_axes": ()}
    source = BatchSource(
        cases,
        sampler,
        plan=store.plan.model_copy(update={"batch_size": 8, "patch_size": (48, 48)}),
        augmentation=AugmentationSettings.model_validate(zoom),
        seed=0,
        device=torch.device("cpu"),
    )
    levels = source.next().labels.numpy()
    rim = levels == 1
    thick = rim[:, :-2, 1:-1] & rim[:, 1:-1, 1:-1] & rim[:, 2:, 1:-1]
    thick &= rim[:, 1:-1, :-2] & rim[:, 1:-1, 2:]
    assert rim.any()
    assert thick.sum() < 0.01 * rim.sum()  # tips of cells


def test_the_least_size_comes_from_the_training_part(run):
    found = start_decoding(run.store, run.store.split(0)[0])
    assert 5 < found.min_voxels < 80
    assert "training objects" in found.reason


def test_predict_writes_objects_a_table_and_outlines(run, tmp_path):
    pictures = run.folder.parent / "data" / "images"
    lines = predict(run.folder, pictures, tmp_path, device="cpu", settings=TORCH)
    assert lines[1].outputs == (
        "cells_01.png", "cells/cells_01.csv", "outlines/cells_01.png"
    )  # fmt: skip
    labels = read_label_map(tmp_path / "cells_01.png").voxels
    table = pd.read_csv(tmp_path / "cells" / "cells_01.csv")
    assert table["label"].tolist() == list(range(1, labels.max() + 1))
    assert table["area_px"].sum() == np.count_nonzero(labels)
    assert lines[1].areas_px == {"cell": np.count_nonzero(labels)}
    assert lines[1].volumes_ml == {}
    assert lines[1].num_objects == labels.max() == len(table)
    written = pd.read_csv(tmp_path / "predictions.csv")
    assert written["n_cells"].tolist() == [line.num_objects for line in lines]
    assert "cell_ml" not in written
    rows, columns = np.nonzero(labels[..., 0].T == 1)
    first = table.iloc[0]
    assert (first["x_px"], first["y_px"]) == pytest.approx(
        (columns.mean(), rows.mean()), rel=1e-5
    )
    outlines = np.asarray(Image.open(tmp_path / "outlines" / "cells_01.png"))
    assert outlines.shape == (96, 96, 3)
    again = predict(run.folder, pictures, tmp_path, device="cpu", settings=TORCH)
    assert {line.status for line in again} == {"unchanged"}


def test_outlines_are_no_predictions(run, tmp_path):
    data = run.folder.parent / "data"
    predict(run.folder, data / "images", tmp_path / "p", device="cpu", settings=TORCH)
    scheme = LabelScheme(names={"cell": 1}, instances=True)
    result = evaluate(
        tmp_path / "p", data / "labels", tmp_path / "e", scheme=scheme, pictures=0
    )
    assert result.num_scored == 12
    assert result.unpaired_predictions == ()


def colours_of_outlines(path: Path, labels: np.ndarray) -> np.ndarray:
    """The colour of each object's outline: one."""
    drawn = tifffile.imread(path).transpose(1, 0, 2)
    edges = find_boundaries(labels, mode="inner")
    found = []
    for number in range(1, labels.max() + 1):
        (colour,) = np.unique(drawn[edges & (labels == number)], axis=0)
        found.append(colour)
    return np.array(found)


def test_a_large_tiff_goes_through_in_tiles(run, tmp_path):
    as_tiff(tmp_path / "in" / "a.tif", run.folder.parent / "data/images/cells_03.png")
    formats = parse_formats("roi,geojson,ome-tiff")
    whole, tiled = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        for name, lines in (("w", whole), ("t", tiled)):
            (lines[0],) = predict(
                run.folder,
                tmp_path / "in",
                tmp_path / name,
                device="cpu",
                settings=TORCH,
                options=ScanOptions(cells_as=formats),
            )
            patch.setattr("medseg.prediction.cells.MOST_IN_MEMORY", 96 * 96 * 59)
        for taken in ("a.ome.tif", "a.geojson"):
            (tmp_path / "u" / "outlines" / taken / "folder").mkdir(parents=True)
        (undrawn,) = predict(
            run.folder,
            tmp_path / "in",
            tmp_path / "u",
            device="cpu",
            settings=TORCH,
            options=ScanOptions(cells_as=formats[:2]),
        )
    assert undrawn.outputs == ("a.tif", "cells/a.csv", "outlines/a_rois.zip")
    assert list(undrawn.not_written) == ["outlines", "geojson file"]
    names = ("a_rois.zip", "a.geojson", "a_labels.ome.tif")
    assert tiled[0].outputs == (
        *("a.tif", "cells/a.csv", "outlines/a.ome.tif"),
        *(f"outlines/{name}" for name in names),
    )
    assert not list((tmp_path / "t" / "outlines").glob(".*"))
    assert any("stitched" in note for note in tiled[0].warnings)
    assert tiled[0].areas_px == whole[0].areas_px
    assert tiled[0].num_objects == whole[0].num_objects
    one, other = (read_volume(tmp_path / n / "a.tif").voxels for n in "wt")
    assert np.array_equal(one > 0, other > 0)
    assert one.max() == other.max()
    tables = [pd.read_csv(tmp_path / n / "cells" / "a.csv") for n in "wt"]
    assert list(tables[0].drop(columns="page")) == list(tables[1].drop(columns="page"))
    for column in ("area_px", "x_px", "y_px", "x_first_px", "y_stop_px"):
        found = [sorted(table[column]) for table in tables]
        assert found[0] == pytest.approx(found[1]), column


def test_objects_of_tiles_are_those_of_the_label_map_in_every_program(run, tmp_path):
    as_tiff(tmp_path / "in" / "a.tif", run.folder.parent / "data/images/cells_03.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.prediction.cells.MOST_IN_MEMORY", 96 * 96 * 59)
        patch.setattr("medseg.prediction.cells.SMALL_SIDE", 40)
        predict(
            run.folder,
            tmp_path / "in",
            tmp_path / "t",
            device="cpu",
            settings=TORCH,
            options=ScanOptions(cells_as=parse_formats("roi,geojson,ome-tiff")),
        )
    out = tmp_path / "t" / "outlines"
    labels = read_label_map(tmp_path / "t" / "a.tif").voxels
    assert labels.max() > 3
    # The same files as of a label map in memory.
    for kind in ObjectFormat:
        path = tmp_path / f"a{kind.ending}"
        write_objects(path, LabelMap(labels, np.eye(4)), as_format=kind)
        if kind is not ObjectFormat.OME_TIFF:  # which has an identity of its own
            assert path.read_bytes() == (out / path.name).read_bytes(), kind
    with tifffile.TiffFile(out / "a_labels.ome.tif") as file:
        assert file.is_ome
        np.testing.assert_array_equal(file.asarray().T, labels[..., 0])
    colours = colours_of_outlines(out / "a.ome.tif", labels[..., 0])
    for first, second in neighbours(labels.astype(np.int64), flat=True):
        assert colours[first - 1].tolist() != colours[second - 1].tolist()
    assert len(np.unique(colours, axis=0)) > 2


def test_a_file_of_cells_that_cannot_be_written_costs_itself_alone(run, tmp_path):
    as_tiff(tmp_path / "in" / "a.tif", run.folder.parent / "data/images/cells_03.png")
    options = ScanOptions(cells_as=parse_formats("geojson,ome-tiff"))
    for taken in ("cells/a.csv", "outlines/a.geojson"):
        (tmp_path / "out" / taken / "folder").mkdir(parents=True)
    (line,) = predict(
        run.folder,
        tmp_path / "in",
        tmp_path / "out",
        device="cpu",
        settings=TORCH,
        options=options,
    )
    assert line.status == "done"
    assert line.outputs == ("a.tif", "outlines/a.png", "outlines/a_labels.ome.tif")
    assert list(line.not_written) == ["table of cells", "geojson file"]


def test_a_scale_makes_micrometres_and_other_programs_get_the_same_cells(run, tmp_path):
    pixels = np.asarray(Image.open(run.folder.parent / "data/images/cells_03.png"))
    (tmp_path / "in").mkdir()
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(
        tmp_path / "in" / "a.tif",
        pixels,
        ome=True,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        metadata={"axes": "YXS"[: pixels.ndim], **size},
    )
    options = ScanOptions(cells_as=parse_formats("roi,geojson,ome-tiff"))
    (line,) = predict(
        run.folder,
        tmp_path / "in",
        tmp_path / "out",
        device="cpu",
        settings=TORCH,
        options=options,
    )
    labels = read_label_map(tmp_path / "out" / "a.tif")
    assert line.num_objects > 3
    assert any("pixel by pixel" in note for note in line.warnings)
    assert labels.grid.spacing[0] == pytest.approx(0.0005)
    table = pd.read_csv(tmp_path / "out" / "cells" / "a.csv")
    found = np.count_nonzero(labels.voxels)
    assert table["area_um2"].sum() == pytest.approx(found * 0.25, rel=1e-4)
    assert table["x_um"].max() < 48
    assert line.areas_um2 == pytest.approx({"cell": found * 0.25})
    names = ("a_rois.zip", "a.geojson", "a_labels.ome.tif")
    assert line.outputs[3:] == tuple(f"outlines/{name}" for name in names)
    written = tifffile.imread(tmp_path / "out" / "outlines" / "a_labels.ome.tif")
    np.testing.assert_array_equal(written.T, labels.voxels[..., 0])


def test_each_object_begins_in_one_tile():
    labels = np.zeros((20, 20), np.uint32)
    labels[2:18, 9:12] = 1
    labels[12:14, 2:4] = 2
    found = [
        begin_in_core(labels[tile.outer], tile).tolist()
        for tile in TileGrid((20, 20), 10, 10)
    ]
    assert found == [[1], [], [2], []]


def test_test_cases_are_scored(run, tmp_path):
    dataset = load_dataset(run.folder.parent / "data" / "cells.csv")
    found = score_test_split(
        run.folder, dataset, tmp_path, settings=TORCH, device="cpu"
    )
    assert len(found.objects) == len(dataset.test_cases) == 3
    assert (tmp_path / "report.html").is_file()
    with pytest.raises(DatasetError, match="no test case with a label map"):
        score_test_split(run.folder, replace(dataset, test_cases=()), tmp_path)


def test_a_bundle_cannot_number_objects(run, tmp_path):
    with pytest.raises(ModelError, match="watershed"):
        export(run.folder, tmp_path / "b", to="monai-bundle")
