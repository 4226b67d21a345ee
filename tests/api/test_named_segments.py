"""Files that name their segments are scored by the names, one by one or in folders."""

from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.labels import LabelScheme

SCHEME = LabelScheme(names={"tumour": 1, "oedema": 2})


def slicer_file(path: Path, voxels: np.ndarray, values: dict[str, int]) -> Path:
    """A label map as 3D Slicer writes it, with these values."""
    head = ["NRRD0004", "type: uchar", "dimension: 3", "encoding: raw"]
    head += [f"sizes: {' '.join(map(str, voxels.shape))}"]
    head += ["space: left-posterior-superior", "space origin: (0,0,0)"]
    head += ["space directions: (1,0,0) (0,1,0) (0,0,2)"]
    for number, (name, value) in enumerate(values.items()):
        head += [f"Segment{number}_Name:={name}"]
        head += [f"Segment{number}_LabelValue:={value}"]
    path.parent.mkdir(exist_ok=True)
    stored = voxels.astype(np.uint8).tobytes(order="F")
    path.write_bytes(("\n".join(head) + "\n\n").encode() + stored)
    return path


@pytest.mark.parametrize("alone", [True, False])
def test_other_numbers_for_the_same_names_agree(tmp_path: Path, *, alone: bool) -> None:
    tumour, oedema = np.zeros((2, 6, 5, 4), bool)
    tumour[:2], oedema[3:] = True, True
    there = slicer_file(
        tmp_path / "a" / "x.seg.nrrd",
        tumour + 2 * oedema,
        {"tumour": 1, "oedema": 2},
    )
    other = slicer_file(
        tmp_path / "b" / "x.seg.nrrd",
        2 * tumour + oedema,
        {"oedema": 1, "tumour": 2},
    )
    pair = (there, other) if alone else (there.parent, other.parent)
    scores = medseg.evaluate(*pair, labels=SCHEME).cases
    found = scores.set_index("structure")["dice"].to_dict()
    assert found == {"tumour": 1.0, "oedema": 1.0}
