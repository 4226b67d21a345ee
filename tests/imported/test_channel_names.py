"""Names of nnU-Net's channels."""

import pytest

from medseg.errors import ModelError
from medseg.imported.plans import channel_names


def test_the_number_of_a_channel_counts_and_not_its_line() -> None:
    listed = {"1": "T1", "10": "ADC", "0": "FLAIR"} | {
        str(n): "x" for n in range(2, 10)
    }
    found = channel_names({"channel_names": listed}, source="dataset.json")
    assert (found[0], found[1], found[10]) == ("FLAIR", "T1", "ADC")
    named = channel_names({"modality": {"a": "CT", "b": "CT"}}, source="dataset.json")
    assert named == ("CT", "CT_1")
    with pytest.raises(ModelError, match="expected a mapping"):
        channel_names({}, source="dataset.json")
