"""The few scores that a table of runs shows."""

import numpy as np
import pytest

import medseg
from medseg.labels import LabelScheme
from medseg.runs.tracked_facts import headline_scores


def test_the_only_region_stands_for_all() -> None:
    scheme = LabelScheme(
        names={"core": 1, "rim": 2}, regions={"whole": ("core", "rim")}
    )
    truth, found = np.zeros((2, 8, 8, 8), np.uint8)
    truth[2:6, 2:6, 2:6], truth[3:5, 3:5, 3:5] = 2, 1
    found[2:6, 2:6, 2:5] = 2
    scores = medseg.evaluate((found, np.eye(4)), (truth, np.eye(4)), labels=scheme)
    assert headline_scores(scores)["dice"] == pytest.approx(2 * 48 / (48 + 64))
