"""Reading in processes with limits: what comes back, and what ends a reader."""

import ctypes
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import InputError, LabelError, UnreadableFileError
from medseg.io import GeometryWarning
from medseg.io.geometry_warning import recorded_geometry, warn_geometry
from medseg.reading import REMEMBERED, guarded, stop_readers
from medseg.reading.remembered import UNREADABLE


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    yield
    REMEMBERED.forget(Path(os.devnull).parent / "nothing")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii"
    path.write_bytes(b"x" * 100)
    return path


def arrays(kind: str) -> list[np.ndarray]:
    large = np.arange(2 * 40 * 50 * 60, dtype=np.int32).reshape(2, 40, 50, 60)
    return {
        "plain": [large],
        "turned": [large.transpose(3, 1, 0, 2), large[0].T],
        "part": [large[:, ::2, 5:, ::-1]],
        "small": [np.arange(3), np.zeros((0, 3)), np.float32(2.5) * np.ones(())],
        "twice": [large, large],
        "big-endian": [large.astype(">i2")],
        "structured": [np.zeros(40_000, dtype=[("r", "u1"), ("g", "<f4")])],
    }[kind]


KINDS = ("plain", "turned", "part", "small", "twice", "big-endian", "structured")


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_come_back_as_they_are(kind: str, file: Path) -> None:
    found = guarded(arrays, kind, files=[file])
    for array, expected in zip(found, arrays(kind), strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    if kind == "twice":
        assert np.shares_memory(found[0], found[1])


def test_arrays_outlive_the_reader_and_can_be_written(file: Path) -> None:
    (array,) = guarded(arrays, "plain", files=[file])
    stop_readers()
    array += 1
    assert array[0, 0, 0, 0] == 1


def say(what: str) -> str:
    warn_geometry(Path("scan.nii"), what)
    warnings.warn("a library's remark", UserWarning, stacklevel=1)
    return what


def test_warnings_are_given_here(file: Path) -> None:
    with pytest.warns(UserWarning, match="library"), recorded_geometry() as said:
        assert guarded(say, "repaired", files=[file]) == "repaired"
    assert said == ["scan.nii: repaired"]
    with (
        pytest.warns(UserWarning, match="library"),
        pytest.warns(GeometryWarning, match="repaired"),
    ):
        guarded(say, "repaired", files=[file])


def tell_a_name() -> str:
    warnings.warn_explicit("name ZEBULON", UserWarning, "lib/pydicom/valuerep.py", 1)
    return ""


def test_warnings_about_values_of_headers_stay_there(file: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        guarded(tell_a_name, files=[file])
    assert caught == []


def refuse(kind: str) -> None:
    if kind == "label":
        raise LabelError("no labels")
    raise KeyError("units")


def test_errors_of_the_package_pass_and_others_are_named(file: Path) -> None:
    with pytest.raises(LabelError, match=r"^no labels$"):
        guarded(refuse, "label", files=[file])
    with pytest.raises(InputError, match=r"scan.nii: no reader expects.*KeyError"):
        guarded(refuse, "other", files=[file])


def crash() -> None:
    ctypes.string_at(0)


def hang() -> None:
    time.sleep(600)


def fill() -> None:
    np.ones(2_000_000_000, np.uint8)


def close() -> None:
    os._exit(7)


@pytest.mark.parametrize(
    ("deadly", "said"),
    [(crash, "SIGSEGV"), (os.abort, "SIGABRT"), (close, "exit code 7")],
)
def test_a_dead_reader_is_an_error_and_is_remembered(
    deadly: object, said: str, file: Path, tmp_path: Path
) -> None:
    with REMEMBERED.kept_in(tmp_path):
        with pytest.raises(UnreadableFileError, match=rf"scan.nii: .*{said}"):
            guarded(deadly, files=[file])  # type: ignore[arg-type]
        with pytest.raises(UnreadableFileError, match=f"delete {UNREADABLE}"):
            guarded(os.getpid, files=[file])
    lines = (tmp_path / UNREADABLE).read_text().splitlines()
    assert len(lines) == 1
    assert "scan" not in lines[0]
    assert said in json.loads(lines[0])["reason"]
    REMEMBERED.forget(tmp_path)
    assert guarded(os.getpid, files=[file]) != os.getpid()


def test_another_file_under_the_name_is_tried(file: Path, tmp_path: Path) -> None:
    with REMEMBERED.kept_in(tmp_path):
        with pytest.raises(UnreadableFileError):
            guarded(close, files=[file])
        file.write_bytes(b"y" * 101)
        assert guarded(arrays, "small", files=[file])


def test_a_list_cut_short_by_a_kill_is_used(file: Path, tmp_path: Path) -> None:
    with REMEMBERED.kept_in(tmp_path), pytest.raises(UnreadableFileError):
        guarded(close, files=[file])
    with (tmp_path / UNREADABLE).open("a") as stream:
        stream.write('{"file": "12')
    with REMEMBERED.kept_in(tmp_path), pytest.raises(UnreadableFileError):
        guarded(os.getpid, files=[file])


def test_time_is_limited(file: Path) -> None:
    with pytest.raises(UnreadableFileError, match="did not end within 1 s"):
        guarded(hang, files=[file], seconds=1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone refuses memory")
def test_memory_is_limited_by_the_size_of_the_files(file: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"scan.nii: .*more than 1.5 GB"):
        guarded(fill, files=[file])


def loaded_modules() -> list[str]:
    return list(sys.modules)


def test_readers_import_no_torch(file: Path) -> None:
    tops = {name.split(".")[0] for name in guarded(loaded_modules, files=[file])}
    assert not tops & {"torch", "monai", "mlflow", "matplotlib", "pandas"}


SCRIPT = """
import sys
from pathlib import Path
from medseg.errors import InputError
from medseg.reading import read_volume
print("began")
try:
    read_volume(Path(sys.argv[1]))
except InputError as error:
    print(type(error).__name__)
"""


def test_a_script_without_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "none.nii")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["began", "MissingFileError"]
    assert done.stderr == ""


DAEMON = """
import multiprocessing, os, sys
from pathlib import Path
from medseg.reading import guarded
def work(queue):
    queue.put(guarded(os.getppid, files=[Path(sys.argv[0])]) )
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,), daemon=True)
    process.start()
    queue.get(timeout=60)
    process.join(60)
    print("ended", process.exitcode)
"""


def test_a_daemonic_process_reads_as_well(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(DAEMON)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ended", "0"]


@pytest.mark.parametrize("pause", [0.0, 0.5, 1.5, 2.5])
def test_a_call_that_ends_while_a_reader_starts_ends_without_a_word(
    pause: float,
) -> None:
    program = (
        "import time\nfrom medseg.reading import start_early\n"
        f"start_early()\ntime.sleep({pause})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def folder_and_text(path: Path) -> tuple[str, str]:
    return str(Path.cwd()), path.read_text()


@pytest.mark.parametrize("how", ["first", "moved", "moved again"])
def test_relative_paths_start_where_the_caller_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A notebook that changes its folder has readers that began in another."""
    for name in ("first", "moved", "moved again"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text(name)
    for name in ("first", how):
        monkeypatch.chdir(tmp_path / name)
        there = Path("same.txt")
        found = guarded(folder_and_text, there, files=[there])
        assert found == (str((tmp_path / name).resolve()), name)
