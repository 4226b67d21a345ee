"""The Dockerfile, linted: no test can build it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_dockerfile_has_no_fault():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("no hadolint here (the extra `dev` brings it on Linux)")
    answer = subprocess.run(
        [linter, "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout == ""


def test_what_the_dockerfile_copies_is_sent_and_there():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for x in lines if x.startswith("COPY ") for word in x.split()[1:-1]]
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name.removeprefix('./')}" in sent
