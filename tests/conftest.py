"""What many rooms test on: small studies, made once, and disks that are too small.

No test may depend on how busy the machine is or on how it was started: hypothesis gets
a profile without time limits, and signals that the caller ignores (as a shell does for
a command in the background, and ``nohup`` for SIGHUP) act as in a terminal, here and in
the programs that tests start.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from medseg.datasets import load_dataset
from medseg.datasets.tiny import make_tiny_study
from medseg.preparation import Store, prepare

settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, usual[number]) for number in usual}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, usual)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of five patients in the Decathlon layout."""
    return make_tiny_study(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_store(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny study, prepared."""
    folder = tmp_path_factory.mktemp("store")
    return prepare(load_dataset(tiny_study), folder, num_folds=3, workers=1)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory: ``size=300k`` is soon full, ``ro`` is sealed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no right to mount a small disk here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)
