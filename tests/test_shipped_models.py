"""Models that come with medseg: found by name, small, and good for what they say."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk
from typer.testing import CliRunner

from medseg import shipped_models
from medseg.api.models import load_model as load_by_name
from medseg.cli.app import app
from medseg.errors import MissingFileError
from medseg.model import find_model, load_model
from medseg.shipped_models import find_starter, starter_names

NUCLEI = Path(shipped_models.__file__).parent / "starters" / "nuclei"


def test_a_name_is_a_name_only_where_no_such_path_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nuclei" in starter_names()
    assert find_starter(Path("nuclei")) == NUCLEI
    assert find_starter(Path("folder/nuclei")) is None
    assert find_model(Path("nuclei")) == NUCLEI
    with pytest.raises(MissingFileError, match=r"comes with medseg: .*nearest: nuclei"):
        find_model(Path("nucleus"))
    (tmp_path / "nuclei").mkdir()
    assert find_starter(Path("nuclei")) is None
    with pytest.raises(MissingFileError, match="nuclei: no model folder here"):
        find_model(Path("nuclei"))
    shutil.copytree(NUCLEI, tmp_path / "nuclei" / "model")
    assert find_model(Path("nuclei")) == Path("nuclei/model")


def test_nuclei_is_small_says_what_it_is_and_whose_data_it_knows() -> None:
    size = sum(path.stat().st_size for path in NUCLEI.iterdir())
    assert size <= 8_000_000
    model, card = load_model(NUCLEI), (NUCLEI / "card.md").read_text()
    assert model.provenance.licence == "CC0"
    assert "Licence of the data: CC0" in card
    assert "fluorescence" in card
    assert "s of processor time" in card
    assert (NUCLEI / "trained_on.txt").is_file()
    assert model.decoding is not None
    assert model.ranges is not None
    assert all(bool((t.half().float() == t).all()) for t in model.network.parameters())


def discs(*, bright: bool) -> tuple[np.ndarray, int]:
    """A picture of round cells on an even ground with some noise, none touching."""
    rng = np.random.default_rng(0)
    picture = np.full((256, 256), 12.0 if bright else 225.0)
    count = 0
    for row in range(32, 256, 48):
        for column in range(32, 256, 48):
            place = np.array([row, column]) + rng.integers(-6, 7, 2)
            inside = disk(tuple(place), float(rng.uniform(8, 14)), shape=picture.shape)
            picture[inside] = rng.uniform(90, 160)
            count += 1
    noisy = picture + rng.normal(0, 3, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8), count


@pytest.mark.parametrize("bright", [True, False])
def test_nuclei_counts_cells_before_anyone_has_trained_anything(
    tmp_path: Path, *, bright: bool
) -> None:
    """Drawn ones, on dark ground as fluorescence and on light as stains."""
    from PIL import Image

    picture, count = discs(bright=bright)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(picture).save(pictures / "drawn.png")
    out = tmp_path / "out"
    command = ["predict", "nuclei", str(pictures), "-o", str(out), "--device", "cpu"]
    extra = ["--no-page", "-q", "--engine", "torch", "--no-flips"]
    result = CliRunner().invoke(app, [*command, *extra])
    assert result.exit_code == 0, result.output
    found = np.asarray(Image.open(out / "drawn.png"))
    assert abs(len(np.unique(found)) - 1 - count) <= 2


def test_nuclei_loads_by_name_from_python() -> None:
    model = load_by_name("nuclei", device="cpu", engine="torch")
    assert model.channels == ("red", "green", "blue")
    assert model.labels.instances
