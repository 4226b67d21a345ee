"""Names that belong together."""

from pathlib import Path

import pytest

from medseg.datasets.pairing import IMAGE_WORDS, LABEL_WORDS, core_name, pair_files


def named(*names: str) -> dict[Path, str]:
    return {Path(f"{name}.nii.gz"): name for name in names}


@pytest.mark.parametrize(
    ("name", "words", "core"),
    [
        ("case1_image", IMAGE_WORDS, "case1"),
        ("IMG1", IMAGE_WORDS, "1"),
        ("image-1", IMAGE_WORDS, "1"),
        ("img_liver_3", IMAGE_WORDS, "liver_3"),
        ("imaging_study", IMAGE_WORDS, "imaging_study"),
        ("image", IMAGE_WORDS, "image"),
        ("case1.ground_truth", LABEL_WORDS, "case1"),
        ("label0001", LABEL_WORDS, "0001"),
        ("segment_3", LABEL_WORDS, "segment_3"),
        ("BraTS20_001_seg", LABEL_WORDS, "BraTS20_001"),
    ],
)
def test_words_that_say_what_a_file_is_do_not_count(name, words, core):
    assert core_name(name, words) == core


@pytest.mark.parametrize(
    ("image", "label", "case_id"),
    [
        ("a", "a", "a"),
        ("a_image", "a_label", "a"),
        ("a", "a_seg", "a"),
        ("img0001", "label0001", "0001"),
        ("image_1", "image_1", "image_1"),
        ("image_1", "image_1_mask", "image_1"),
        ("a_0000", "a", "a"),
    ],
)
def test_one_image_and_its_label(image, label, case_id):
    found = pair_files({Path("i.png"): image}, {Path("l.png"): label})
    assert [pair.case_id for pair in found.pairs] == [case_id]
    assert found.lone_images == found.lone_labels == ()


def test_suffixes_are_channels():
    found = pair_files(named("a_t1", "a_flair", "b_t1", "b_flair"), named("a", "b"))
    assert found.channels == ("flair", "t1")
    assert found.pairs[0].images == (Path("a_flair.nii.gz"), Path("a_t1.nii.gz"))


def test_a_missing_channel_is_listed_where_it_should_be():
    images = named("a_t1", "a_flair", "b_t1", "b_flair", "c_t1")
    found = pair_files(images, named("a", "b", "c"))
    assert found.pairs[2].images == (Path("c_flair.nii.gz"), Path("c_t1.nii.gz"))


def test_a_longer_name_is_another_case_and_no_channel():
    found = pair_files(named("a_1", "a_1_2", "a_10"), named("a_1", "a_10"))
    assert [pair.case_id for pair in found.pairs] == ["a_1", "a_10"]
    assert found.channels == ()
    assert found.lone_images == (Path("a_1_2.nii.gz"),)


def test_a_channel_that_few_cases_have_is_left_over():
    found = pair_files(named("a_t1", "b_t1", "b_t2", "c_t1"), named("a", "b", "c"))
    assert found.channels == ("t1",)
    assert found.lone_images == (Path("b_t2.nii.gz"),)


def test_files_without_a_partner_are_told_apart():
    found = pair_files(named("a", "b"), named("b", "c"))
    assert found.lone_images == (Path("a.nii.gz"),)
    assert found.lone_labels == (Path("c.nii.gz"),)
