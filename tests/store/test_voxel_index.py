import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.store.voxel_index import (
    MOST_PER_CLASS,
    MOST_PER_LESION,
    build_index,
)


def index_of(labels: np.ndarray, num_classes: int = 3):
    return build_index(labels, num_classes, np.random.default_rng(0))


def two_lesions() -> np.ndarray:
    labels = np.zeros((10, 9, 8), dtype=np.uint8)
    labels[2:4, 2:4, 2:4] = 1
    labels[7, 7, 6] = 1
    labels[5, 5, 5] = 2
    labels[0, 0, 0] = 255
    return labels


def test_counts_leave_out_ignored_voxels() -> None:
    assert index_of(two_lesions()).num_voxels == (10 * 9 * 8 - 11, 9, 1)


def test_lesions_are_listed_with_size_and_box() -> None:
    lesions = index_of(two_lesions()).lesions_of(1)
    assert lesions["voxels"].tolist() == [8, 1]
    assert lesions["start"].tolist() == [[2, 2, 2], [7, 7, 6]]
    assert lesions["stop"].tolist() == [[4, 4, 4], [8, 8, 7]]


def test_positions_of_a_lesion_are_its_own() -> None:
    index = index_of(two_lesions())
    assert index.of_lesion(index.lesions_of(1)[1]).tolist() == [[7, 7, 6]]
    assert index.of_lesion(index.lesions_of(2)[0]).tolist() == [[5, 5, 5]]


def test_empty_label_map_has_an_empty_index() -> None:
    index = index_of(np.zeros((4, 4, 4), dtype=np.uint8))
    assert index.num_voxels == (64, 0, 0)
    assert len(index.of_class(1)) == len(index.lesions) == len(index.positions) == 0


def test_large_classes_are_sampled_without_repeats() -> None:
    index = index_of(np.ones((40, 30, 20), dtype=np.uint8), num_classes=2)
    assert index.num_voxels[1] == 24_000
    assert len(np.unique(index.of_class(1), axis=0)) == MOST_PER_CLASS
    assert len(index.of_lesion(index.lesions[0])) == MOST_PER_LESION


def test_the_same_labels_give_the_same_index() -> None:
    labels = np.ones((40, 30, 20), dtype=np.uint8)
    np.testing.assert_array_equal(
        index_of(labels).positions, index_of(labels).positions
    )


@given(
    labels=hnp.arrays(
        np.uint8,
        st.tuples(*[st.integers(1, 7)] * 3),
        elements=st.sampled_from([0, 1, 2, 255]),
    )
)
@settings(max_examples=60)
def test_index_agrees_with_the_label_map(labels: np.ndarray) -> None:
    index = index_of(labels)
    for label in (1, 2):
        expected = np.argwhere(labels == label)
        np.testing.assert_array_equal(index.of_class(label), expected)
        lesions = index.lesions_of(label)
        assert lesions["voxels"].sum() == len(expected)
        for lesion in lesions:
            where = index.of_lesion(lesion)
            assert (labels[tuple(where.T)] == label).all()
            assert (where >= lesion["start"]).all()
            assert (where < lesion["stop"]).all()
