"""Libraries that report to their makers are kept from it, however they are loaded."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from medseg.telemetry import OPT_OUT

CI_SIGNS = ("PYTEST_", "CI", "GITHUB_", "JENKINS_", "TF_BUILD", *OPT_OUT)
"""Libraries hold back by themselves where they see these; nothing may rest on it."""

LOADS = {
    "mlflow": "import monai",  # which imports MLflow
    "onnxruntime": "import onnxruntime",
    "openvino": "from medseg.telemetry import import_openvino; import_openvino()",
}
MAKERS = ("intel", "Microsoft", "mlflow", "onnxruntime", "deviceid")


def files_made(home: Path, code: str) -> list[str]:
    """What a Python process leaves below its home folder."""
    home.mkdir()
    plain = {k: v for k, v in os.environ.items() if not k.startswith(CI_SIGNS)}
    plain = {k: v for k, v in plain.items() if not k.startswith("XDG_")}
    plain["HOME"] = str(home)
    subprocess.run([sys.executable, "-c", code], env=plain, check=True)
    return [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()]


@pytest.mark.parametrize("library", LOADS)
def test_loading_a_library_leaves_no_identifier(tmp_path: Path, library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    made = files_made(tmp_path / "home", f"import medseg\n{LOADS[library]}")
    assert not [f for f in made if set(Path(f).parts) & set(MAKERS)], made


def test_what_the_user_set_stays() -> None:
    code = "import os, medseg; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"
