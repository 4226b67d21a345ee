"""Lists of sums against files."""

import pytest

from medseg.datasets import load_dataset
from medseg.datasets.doctor import check_sums
from medseg.errors import UnreadableFileError
from medseg.files import hash_file
from medseg.testing.tiny_study import make_tiny_study


def test_files_that_are_missing_or_others_are_named(tmp_path):
    for name in ("same", "other"):
        (tmp_path / name).write_text(name)
    good = hash_file(tmp_path / "same")
    sums = tmp_path / "sums"
    sums.write_text(f"{good}  same\n{good}  other\n{good} *missing\n")
    found = {
        finding.file.name: finding.message for finding in check_sums(sums, tmp_path)
    }
    assert found == {
        "other": "other bytes than sums lists",
        "missing": "listed in sums, not there",
    }


def test_a_line_that_is_no_sum_is_named(tmp_path):
    (tmp_path / "sums").write_text("abc  file\n")
    with pytest.raises(UnreadableFileError, match="line 1: expected a SHA-256 sum"):
        list(check_sums(tmp_path / "sums", tmp_path))


def test_a_description_names_its_list(tmp_path):
    tiny = make_tiny_study(tmp_path / "tiny", num_cases=2)
    (tmp_path / "tiny.yaml").write_text("root: tiny\nchecksums: tiny.sha256\n")
    study = load_dataset(tmp_path / "tiny.yaml")
    assert study.root == tiny
    assert study.checksums == tmp_path / "tiny.sha256"
