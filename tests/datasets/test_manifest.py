"""Tables of cases: columns under many names, splits, folds, and back to a table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.datasets import Case, Dataset, Split, load_dataset
from medseg.datasets.folds import divide_cases
from medseg.datasets.manifest import write_manifest
from medseg.datasets.splits import named_cases
from medseg.errors import DatasetError, UnreadableFileError
from medseg.labels import LabelScheme

SCHEME = LabelScheme(names={"organ": 1})


def table(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *, root: Path | None = None) -> Dataset:
    (folder / "manifest.yaml").write_text("channels: [a]\n")
    return load_dataset(table(folder, text), scheme=SCHEME, root=root)


def test_plain_columns(tmp_path):
    text = "case_id,patient_id,image,label,fold\nc,p,i.nii.gz,l.nii.gz,3\n"
    study = load(tmp_path, text)
    images = (tmp_path / "i.nii.gz",)
    assert study.cases == (Case("c", "p", images, tmp_path / "l.nii.gz"),)
    assert study.splits == (Split(3, train=(), val=("c",)),)
    assert study.patient_source == "patients from column 'patient_id' of manifest.csv"


@pytest.mark.parametrize("case", ["id", "case", "Case ID", "scan-id"])
@pytest.mark.parametrize("patient", ["subject", "patient", "Group", "participant_id"])
@pytest.mark.parametrize("label", ["seg", "mask", "Segmentation", "label_path"])
@pytest.mark.parametrize("fold", ["fold", "fold5", "CV_fold"])
def test_synonyms(tmp_path, case, patient, label, fold):
    text = f"{case};{patient};image;{label};{fold}\nc;p;i.png;l.png;2\n"
    study = load(tmp_path, text)
    (found,) = study.cases
    assert (found.case_id, found.patient_id) == ("c", "p")
    assert study.splits[0].fold == 2
    assert found.label == tmp_path / "l.png"


def test_without_ids_the_image_names_the_case(tmp_path):
    (case,) = load(tmp_path, "image,label\nsub/i.nii.gz,l.nii.gz\n").cases
    assert (case.case_id, case.patient_id) == ("i", "i")


def test_columns_of_file_names_are_channels(tmp_path):
    text = "patient,flair,t1c,label,spacing\np,f.nii.gz,t.nii.gz,p.nii.gz,1x1x1\n"
    study = load_dataset(table(tmp_path, text), scheme=SCHEME)
    assert study.channels == ("flair", "t1c")
    assert study.cases[0].images == (tmp_path / "f.nii.gz", tmp_path / "t.nii.gz")
    assert study.cases[0].case_id == "p"


def test_prefixed_columns_are_channels(tmp_path):
    text = "case_id,image_T2,image_DWI,label\nc,a.mha,b.mha,l.mha\n"
    assert load_dataset(table(tmp_path, text), scheme=SCHEME).channels == ("t2", "dwi")


def test_tabs_and_a_byte_order_mark(tmp_path):
    path = table(tmp_path, "\ufeffimage\tlabel\ni.png\tl.png\n", "study.tsv")
    (tmp_path / "study.yaml").write_text("channels: [a]\n")
    assert load_dataset(path, scheme=SCHEME).cases[0].case_id == "i"


def test_train_and_val_are_the_only_fold(tmp_path):
    text = "image,label,split\na.png,a.png,train\nb.png,b.png,val\nc.png,c.png,test\n"
    study = load(tmp_path, text)
    assert study.splits == (Split(0, train=("a",), val=("b",)),)
    assert [case.case_id for case in study.test_cases] == ["c"]


def test_train_and_test_leave_folds_open(tmp_path):
    text = "image,label,split\na.png,a.png,train\nb.png,b.png,test\n"
    assert load(tmp_path, text).splits == ()


def splits_of(folder: Path, header: str, cells: str) -> tuple[tuple[Split, ...], str]:
    """Splits and unlisted cases of a table whose rows hold the given cells."""
    rows = [
        f"{name}.png,{name}.png,{cell.replace('_', '')}"
        for name, cell in zip("abcdef", cells.split(), strict=False)
    ]
    study = load(folder, "\n".join([f"image,label,{header}", *rows, ""]))
    listed = {case.case_id for case in study.cases}
    rest = "".join(case.case_id for case in study.unlisted_cases)
    assert listed | set(rest) | {c.case_id for c in study.test_cases} == {
        row[0] for row in rows
    }
    return study.splits, rest


@pytest.mark.parametrize(
    ("header", "cells", "expected", "rest"),
    [
        ("fold", "0 1 _ 0", [(0, "b", "ad"), (1, "ad", "b")], "c"),
        ("fold", "4 7 7 _", [(4, "bc", "a"), (7, "a", "bc")], "d"),
        ("split", "0 1 _ test", [(0, "b", "a"), (1, "a", "b")], "c"),
        ("split", "train val _ test", [(0, "a", "b")], "c"),
        ("split", "_ val _ test", [(0, "ac", "b")], ""),
        ("split", "train _ train test", [], "b"),
        ("split", "_ _ test", [], ""),
        ("fold_0,fold_1", "train,val val,_ _,train", [(0, "a", "b"), (1, "c", "a")],
         ""),
        ("fold_1,fold_3", "train,val _,_ val,val", [(1, "a", "c"), (3, "", "ac")], "b"),
        ("fold1,fold2", "train,val test,test val,val", [(1, "a", "c"), (2, "", "ac")],
         ""),
        ("split,fold", "train,0 val,1 train,0", [(0, "b", "ac"), (1, "ac", "b")], ""),
        ("split,fold", "train,0 train,_ test,1", [(0, "", "a")], "b"),
        ("split,fold", "train,_ val,_ _,_", [(0, "a", "b")], "c"),
    ],
)  # fmt: skip
def test_splits_of_a_table_are_kept_exactly(tmp_path, header, cells, expected, rest):
    splits, left_out = splits_of(tmp_path, header, cells)
    found = [(s.fold, "".join(s.train), "".join(s.val)) for s in splits]
    assert (found, left_out) == (expected, rest)


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        ("split,fold", "train,0 val,0 train,1", "both divide .* differently"),
        ("fold5,fold10", "0,1 1,0", "columns fold5, fold10 each give folds"),
        ("fold,fold_1", "0,train 1,val", "columns fold, fold_1 each give folds"),
        ("split", "train 1 val", "both numbers and train and val"),
    ],
)
def test_contradicting_columns_are_refused(tmp_path, header, cells, message):
    with pytest.raises(DatasetError, match=message):
        splits_of(tmp_path, header, cells)


def test_unlisted_cases_are_counted(tmp_path):
    text = "image,label,fold\na.png,a.png,0\nb.png,b.png,1\nc.png,c.png,\n"
    assert "1 in no given split, left out" in load(tmp_path, text).describe()


def test_a_case_without_label_is_listed(tmp_path):
    study = load(tmp_path, "image,label\na.png,a.png\nb.png,\n")
    assert [case.case_id for case in study.cases] == ["a"]
    assert study.lone_images == (tmp_path / "b.png",)


def test_paths_are_relative_to_the_root_that_is_named(tmp_path):
    study = load(tmp_path, "image,label\na.png,b.png\n", root=tmp_path / "elsewhere")
    assert study.cases[0].label == tmp_path / "elsewhere" / "b.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,label\nc,words\n", "none holds names of scans; found case_id, label"),
        ("image,label,fold\ni.png,l.png,two\n", "line 2: fold 'two'"),
        ("image,label,split\ni.png,l.png,maybe\n", "line 2: split 'maybe'"),
        ("image_a,image_b,label\na.png,b.png,l\na.png,,l\n", "line 3: column image_b"),
        ("image,label\n", "lists no case"),
        ("case_id,image,label\nc,i.png,l.png\nc,j.png,m.png\n", "occur twice"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, text)


def test_a_binary_file_is_no_table(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"\x89PNG\x00\x81")
    with pytest.raises(UnreadableFileError, match="not a readable table"):
        load_dataset(path)


def divisions(names):
    """Train and val: any two parts of the names that share none, not both empty."""
    return (
        st.lists(st.sampled_from(["train", "val", ""]), min_size=len(names))
        .map(lambda words: list(zip(names, words, strict=False)))
        .map(lambda ws: [[n for n, w in ws if w == k] for k in ("train", "val")])
        .filter(lambda parts: any(parts))
    )


WORDS = st.text("abcdefXYZ0123456789_-", min_size=1, max_size=8)


@given(st.lists(WORDS, min_size=1, max_size=6, unique=True), st.data())
def test_a_table_that_was_written_reads_the_same(tmp_path_factory, names, data):
    folder = tmp_path_factory.mktemp("manifest")
    num_channels = data.draw(st.integers(1, 3))
    channels = tuple(f"ch{number}" for number in range(num_channels))
    cases = tuple(
        Case(
            name,
            data.draw(WORDS),
            tuple(folder / "images" / f"{name}_{c}.nii.gz" for c in channels),
            folder.parent / "labels" / f"{name}.nii.gz",
        )
        for name in names
    )
    scheme = LabelScheme(names={"a": 1, "b": 255}, regions={"ab": ("a", "b")}, ignore=7)
    splits = tuple(
        Split(fold, *(tuple(data.draw(st.permutations(p))) for p in parts))
        for fold, parts in enumerate(data.draw(st.lists(divisions(names), max_size=3)))
    )
    listed, rest = divide_cases(cases, named_cases(splits) if splits else None)
    study = Dataset(
        "study", folder, channels, scheme, listed, splits=splits, unlisted_cases=rest
    )
    write_manifest(folder / "study.csv", study)
    found = load_dataset(folder / "study.csv")
    assert [absolute(case) for case in found.cases] == [absolute(c) for c in listed]
    assert [c.case_id for c in found.unlisted_cases] == [c.case_id for c in rest]
    assert as_sets(found.splits) == as_sets(splits)
    assert (found.name, found.channels, found.scheme) == ("study", channels, scheme)


def absolute(case: Case) -> tuple[object, ...]:
    assert case.label is not None
    files = [path.resolve() for path in (*case.images, case.label)]
    return (case.case_id, case.patient_id, files)


def as_sets(splits: tuple[Split, ...]) -> list[tuple[int, set[str], set[str]]]:
    return [(split.fold, set(split.train), set(split.val)) for split in splits]
