"""MONAI's own tests of what medseg.monai offers, with medseg's names in their place.

They are not part of this project. To run them, name a copy of MONAI's source:

    git clone --depth 1 --branch 1.6.1 https://github.com/Project-MONAI/MONAI
    pip install parameterized
    MONAI_SOURCE=MONAI python -m pytest tests/monai/test_monai_upstream.py
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SOURCE = os.environ.get("MONAI_SOURCE", "")
FILES = [
    "losses/test_dice_loss.py",
    "losses/test_dice_ce_loss.py",
    "losses/test_dice_focal_loss.py",
    "losses/test_focal_loss.py",
    "losses/test_tversky_loss.py",
    "losses/test_generalized_dice_loss.py",
    "inferers/test_sliding_window_inference.py",
]
HERE = Path(__file__).parent
SAVING = "not script and not export"
"""Saving a loss as TorchScript is MONAI's alone."""


def failures(file: str, report: Path, *plugin: str) -> tuple[int, set[str]]:
    """How many of MONAI's tests of a file ran, and the names of those that failed."""
    paths = [HERE.parents[1], HERE / "support", Path(SOURCE).resolve()]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "QUICKTEST": "True",  # MONAI's switch for volumes that take minutes
    }
    options = ["-q", "-k", SAVING, f"--junitxml={report}", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *plugin, f"tests/{file}"]
    subprocess.run(command, cwd=SOURCE, env=environment, check=False)
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {
        str(case.get("name"))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    return len(cases), failed


@pytest.mark.slow
@pytest.mark.skipif(not SOURCE, reason="MONAI_SOURCE names no copy of MONAI's source")
@pytest.mark.parametrize("file", FILES)
def test_monais_own_tests_pass_with_our_names(file, tmp_path):
    """But for those that fail with MONAI's own names, on this machine."""
    number, theirs = failures(file, tmp_path / "theirs.xml")
    assert number > len(theirs)
    names = ("-p", "medseg_in_place_of_monai")
    again, ours = failures(file, tmp_path / "ours.xml", *names)
    assert again == number
    assert ours <= theirs
