"""The names of `import medseg`: there, documented, typed, light, and their examples."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import medseg

HEAVY = ("torch", "numpy", "pandas", "pydantic", "rich", "mlflow", "monai", "nibabel")
NAMES = sorted(set(medseg.__all__) - {"__version__", "train"})


def test_importing_medseg_imports_nothing_heavy() -> None:
    program = "import sys, medseg; print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program, *HEAVY], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_all_names_are_there_and_nothing_else() -> None:
    for name in medseg.__all__:
        assert getattr(medseg, name) is not None
    assert set(medseg.__all__) <= set(dir(medseg))
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        medseg.tarin  # noqa: B018


def test_names_are_sorted_and_each_has_a_place() -> None:
    names = [name for name in medseg.__all__ if name != "__version__"]
    assert names == sorted(names)
    assert set(names) == set(medseg._PLACES)


def run_example(name: str) -> None:
    """Runs the examples of one name in this folder."""
    found = getattr(medseg, name)
    tests = doctest.DocTestFinder(recurse=False).find(found, name)
    assert any(test.examples for test in tests), f"medseg.{name} has no example"
    lines: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        test.globs = {}
        runner.run(test, out=lines.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: the run of `medseg.train`'s own is there."""
    place = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run_example("train")
    return place


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    run_example(name)
