"""Small studies that many rooms test on, made once."""

from pathlib import Path

import pytest

from medseg.datasets import load_dataset
from medseg.datasets.tiny import make_tiny_study
from medseg.preparation import Store, prepare


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of five patients in the Decathlon layout."""
    return make_tiny_study(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_store(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny study, prepared."""
    folder = tmp_path_factory.mktemp("store")
    return prepare(load_dataset(tiny_study), folder, num_folds=3, workers=1)
