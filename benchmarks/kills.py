"""Calls killed at a random moment and repeated: the same results, a usable store."""

import contextlib
import hashlib
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fault_inputs import (
    TORCH,
    Results,
    Study,
    arrays_below,
    convert,
    voxels_of,
)
from mutants import scan, slices, write_nifti
from watched import end, start, watch

HOWS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_LONGEST_WAIT = 300.0
_PORT = 11_912


@dataclass
class Kills:
    """What became of one verb's killed calls.

    Attributes:
        study: What the verb is given.
        verb: The verb.
        kills: Calls that were killed.
        different: Repeated calls that came to other results, or failed.
        unusable: Tracking stores that were damaged.
        faults: What went wrong, in words.
    """

    study: Study
    verb: str
    kills: int = 0
    different: int = 0
    unusable: int = 0
    faults: list[str] = field(default_factory=list)

    def run(
        self, count: int, rng: random.Random, *, say: Callable[[str], None]
    ) -> "Kills":
        """Kills so many calls, and repeats each until it ends."""
        clean = self.study.folder / f"{self.verb}_undisturbed"
        began = time.monotonic()
        self.finish(clean)
        duration = time.monotonic() - began
        expected = self.results(clean)
        if not expected or not all(expected.values()):
            raise SystemExit(f"{self.verb}: undisturbed, it came to nothing")
        for number in range(count):
            folder = self.study.folder / f"{self.verb}_killed_{number:03d}"
            self.kill(folder, rng.uniform(0.3, duration), rng.choice(HOWS))
            self.kills += 1
            if not is_usable(folder):
                self.unusable += 1
                self.faults.append(f"{self.verb}: the tracking store in {folder}")
            self.finish(folder)
            if self.results(folder) != expected:
                self.different += 1
                self.faults.append(f"{self.verb}: other results in {folder}")
            else:
                shutil.rmtree(folder)
        for fault in self.faults:
            say(fault)
        return self

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """Of a call whose results go into a folder."""
        raise NotImplementedError

    def results(self, folder: Path) -> Results:
        """What came out."""
        raise NotImplementedError

    def kill(self, folder: Path, seconds: float, how: signal.Signals) -> None:
        """Starts a call and ends it after some seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        call = self.arguments(folder, again=False)
        process = start(*call, log=self.study.folder / "log.txt")
        time.sleep(seconds)
        end(process, how)
        deadline = time.monotonic() + _LONGEST_WAIT
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        end(process, signal.SIGKILL)

    def finish(self, folder: Path) -> None:
        """Repeats the call to its end."""
        folder.mkdir(parents=True, exist_ok=True)
        call = self.arguments(folder, again=True)
        ended = watch(*call, log=self.study.folder / "log.txt")
        if ended.code != 0:
            last = ended.text.strip().splitlines()[-1:] or [""]
            self.faults.append(f"{self.verb}: repeated, code {ended.code}: {last[0]}")


class PrepareKills(Kills):
    """The store's arrays."""

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """The same at each call."""
        store = folder / "store"
        return ("prepare", self.study.data, "-o", store, "--workers", 1, "--folds", 3)

    def results(self, folder: Path) -> Results:
        """Hashes of all arrays."""
        return arrays_below(folder / "store" / "cases")


class ConvertKills(Kills):
    """Volumes of a tree of scans."""

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """Files and a series."""
        return convert(self.study, folder, []).arguments

    def results(self, folder: Path) -> Results:
        """Hashes of the voxels."""
        return {p.name: voxels_of(p) for p in (folder / "out").glob("*.nii.gz")}


class PredictKills(Kills):
    """Label maps of some scans, tracked."""

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """Four scans."""
        for k in range(4):
            write_nifti(folder / "in" / f"scan{k}.nii.gz", scan(k)[0])
        out = folder / "out"
        return (
            "predict",
            self.study.model,
            folder / "in",
            "-o",
            out,
            *TORCH,
        )

    def results(self, folder: Path) -> Results:
        """Hashes of the label maps."""
        return {p.name: voxels_of(p) for p in (folder / "out").glob("*.nii.gz")}


class TrainKills(Kills):
    """The weights of a tracked run that is resumed."""

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """Twelve steps; a run that was begun is resumed."""
        config = self.study.folder / "tracked.yaml"
        config.write_text("training: {checkpoint_every: 1s}\n")
        run = folder / "run"
        resume = ["--resume"] if again and run.exists() else []
        return (
            "train", config, "--data", self.study.store, "--fold", 0, "--steps", 12,
            "--device", "cpu", "-q", "-o", run, *resume,
        )  # fmt: skip

    def results(self, folder: Path) -> Results:
        """Hash of the weights."""
        path = folder / "run" / "model" / "weights.safetensors"
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
        return {"weights": found}


class CompareKills(Kills):
    """The statistics of a study of two losses."""

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """Two variations, one fold."""
        path = self.study.folder / "study.yaml"
        path.write_text(
            "name: two\nbase: tracked_base.yaml\nfolds: [0]\nvariations:\n"
            "  dice_ce: {training: {loss: {name: dice_ce}}}\n"
            "  ce: {training: {loss: {name: ce}}}\n"
        )
        base = self.study.folder / "tracked_base.yaml"
        base.write_text("training: {steps: 6}\n")
        call = ("compare", path, "--data", self.study.store, "--device", "cpu", "-q")
        return (*call, "-o", folder / "out")

    def results(self, folder: Path) -> Results:
        """The table of statistics."""
        path = folder / "out" / "statistics.csv"
        return {"statistics": path.read_text() if path.exists() else ""}


class PacsKills(Kills):
    """The label map of a study that is sent to a node over the network."""

    def arguments(self, folder: Path, *, again: bool) -> tuple[object, ...]:
        """A node on this machine alone."""
        node = ("pacs", self.study.model, "-o", folder / "node", "--allow", "FRIEND")
        more = ("--port", _PORT, "--settle", 1, "--key", self.study.key)
        return (*node, *more, "--device", "cpu", "--set", "min_free_gb=0")

    def results(self, folder: Path) -> Results:
        """Hashes of the label maps."""
        found = (folder / "node" / "results").rglob("*.nii.gz")
        return {path.name: voxels_of(path) for path in found}

    def kill(self, folder: Path, seconds: float, how: signal.Signals) -> None:
        """Sends a study, then ends the node."""
        folder.mkdir(parents=True, exist_ok=True)
        process = start(
            *self.arguments(folder, again=False), log=self.study.folder / "log.txt"
        )
        with contextlib.suppress(TimeoutError):
            _send_study(_LONGEST_WAIT)
        time.sleep(seconds / 4)
        end(process, how)
        with contextlib.suppress(Exception):
            process.wait(_LONGEST_WAIT)
        end(process, signal.SIGKILL)

    def finish(self, folder: Path) -> None:
        """Starts the node, sends the study again, waits for its label map."""
        folder.mkdir(parents=True, exist_ok=True)
        process = start(
            *self.arguments(folder, again=True), log=self.study.folder / "log.txt"
        )
        try:
            _send_study(_LONGEST_WAIT)
            deadline = time.monotonic() + _LONGEST_WAIT
            while not self.results(folder) and time.monotonic() < deadline:
                time.sleep(0.2)
        except TimeoutError:
            self.faults.append("pacs: the node did not answer")
        finally:
            end(process, signal.SIGTERM)
            with contextlib.suppress(Exception):
                process.wait(60)
            end(process, signal.SIGKILL)


def _send_study(longest: float) -> None:
    """Sends a series as soon as the node answers.

    Raises:
        TimeoutError: It did not take it.
    """
    from pynetdicom import AE
    from pynetdicom.sop_class import MRImageStorage

    entity = AE(ae_title="FRIEND")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(MRImageStorage)
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        link = entity.associate("127.0.0.1", _PORT, ae_title="MEDSEG")
        if link.is_established:
            for one in slices(scan(5)[0], "1.2.826.0.1.3680043.8.498.7"):
                link.send_c_store(one)
            link.release()
            return
        time.sleep(0.3)
    raise TimeoutError


def is_usable(folder: Path) -> bool:
    """Whether SQLite finds nothing wrong with the tracking stores below a folder."""
    for path in folder.rglob("*.db"):
        try:
            with contextlib.closing(sqlite3.connect(path)) as store:
                answer = store.execute("PRAGMA integrity_check").fetchone()
                tables = store.execute(
                    "SELECT count(*) FROM sqlite_master WHERE name = 'runs'"
                ).fetchone()
        except sqlite3.DatabaseError:
            return False
        if answer != ("ok",) or tables != (1,):
            return False
    return True


KILLED: dict[str, type[Kills]] = {
    "prepare": PrepareKills,
    "train": TrainKills,
    "predict": PredictKills,
    "convert": ConvertKills,
    "compare": CompareKills,
    "pacs": PacsKills,
}
