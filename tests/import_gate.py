"""Trains and predicts where no other packages can be imported than those named here.

    python import_gate.py FOLDER
    python import_gate.py --collect      the tests that a GPU is wanted for, not run

A machine with a GPU may be bare: what a run needs there is written down here, and
whatever a package on the list requires by itself counts as part of it.
"""

import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# pebble ends readers of foreign files that hang; training from a store needs none
NEEDED = (
    "torch numpy scipy pandas pydantic PyYAML jaxtyping typing_extensions "
    "psutil filelock nibabel connected-components-3d safetensors pebble"
)

NEEDED_BY_TESTS = "pytest hypothesis"

CONFIG = {
    "fold": None,  # nothing is held out: scores and reports need more packages
    "plan": {
        "patch_size": [16, 16, 16],
        "batch_size": 2,
        "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    },
    "training": {"steps": 2, "precision": "float32"},
    "tracking": {"enabled": False},
}


class Gate:
    """A finder of modules that does not find those of other packages."""

    def __init__(self, finder: Any, closed: frozenset[str]) -> None:
        self._finder, self._closed = finder, closed

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self._closed:
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def closed_modules(needed: str = NEEDED) -> frozenset[str]:
    """Modules of packages that are installed and neither needed nor required."""
    allowed, waiting = {"medseg"}, needed.split()
    while waiting:
        name = _normal(waiting.pop())
        if name in allowed:
            continue
        allowed.add(name)
        waiting += _requirements(name)
    return frozenset(
        module
        for module, packages in metadata.packages_distributions().items()
        if not allowed & set(map(_normal, packages))
    )


def _requirements(name: str) -> list[str]:
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # of another platform
        return []
    plain = (line for line in lines if "extra ==" not in line)
    return [match[0] for line in plain if (match := re.match(r"[\w.-]+", line))]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def close(closed: frozenset[str]) -> None:
    """Lets nothing else be imported from now on."""
    sys.meta_path = [Gate(finder, closed) for finder in sys.meta_path]  # type: ignore[misc]


def collect() -> int:
    """Collects the tests marked gpu; pytest's exit code."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    close(closed_modules(f"{NEEDED} {NEEDED_BY_TESTS}"))
    import pytest

    root = Path(__file__).parents[1]
    script = (root / "benchmarks" / "on_gpu.sh").read_text(encoding="utf-8")
    files = [str(root / name) for name in re.findall(r"tests/\S+\.py", script)]
    options = ["-q", "-m", "gpu", "-o", "addopts=", "--collect-only"]
    quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestConfigWarning"]
    return int(pytest.main([*options, *quiet, *files]))


def main(folder: Path) -> None:
    closed = closed_modules()
    close(closed)
    from medseg.prediction.predict import predict
    from medseg.runs.config import RunConfig
    from medseg.runs.train import train
    from medseg.testing.tiny_study import make_tiny_study

    study = make_tiny_study(folder / "study")
    config = RunConfig.model_validate({**CONFIG, "data": str(study)})
    train(config, folder / "run", device="cpu")
    scan = study / "imagesTr" / "tiny_000.nii.gz"
    (answer,) = predict(folder / "run", scan, folder / "out", device="cpu")
    assert answer.status == "done", answer.reason
    assert not closed & {name.partition(".")[0] for name in sys.modules}


if __name__ == "__main__":
    if sys.argv[1] == "--collect":
        sys.exit(collect())
    main(Path(sys.argv[1]))
