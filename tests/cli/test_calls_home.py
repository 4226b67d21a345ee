"""Every verb in a network namespace that leads nowhere, its system calls watched.

Neither a connection nor a look-up of a host may be tried, and below the home folder
lies nothing but what medseg and the drawing of pictures keep there.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from command_line import CONFIG

from medseg.telemetry import OPT_OUT

pytestmark = pytest.mark.slow

LOOPBACK = r"127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0|::"
CLOSED = """
import fcntl, os, socket, struct, sys
request = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
with socket.socket() as probe:
    fcntl.ioctl(probe, 0x8914, request)  # SIOCSIFFLAGS
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Raises the loopback of a new namespace and becomes the program."""

CI_SIGNS = ("PYTEST_", "CI", "GITHUB_", "JENKINS_", "TF_BUILD", "XDG_", *OPT_OUT)
KEPT = {".cache/medseg", ".config/medseg", ".cache/matplotlib", ".config/matplotlib"}
ENDLESS = {"pacs": "listens at", "ui": "startup complete"}
"""Verbs that go on until they are told to end, and what they say once they run."""


def calls(root: Path, study: Path) -> dict[str, list[str]]:
    """Each verb, in an order in which one makes what the next one reads."""
    scans, labels = study / "imagesTr", study / "labelsTr"
    config, run = root / "config.yaml", root / "runs" / "a"
    predict = ["predict", run, scans]
    lines = {
        "doctor": ["doctor", study],
        "prepare": ["prepare", study, "-o", root / "store", "--folds", "3"],
        "train": ["train", config, "--data", study, "-o", run],
        "compare": ["compare", root / "study.yaml", "--data", study, "-o", root / "c"],
        "predict": [*predict, "-o", root / "torch", "--engine", "torch"],
        "predict onnx": [*predict, "-o", root / "onnx", "--engine", "onnx"],
        "predict openvino": [*predict, "-o", root / "ov", "--engine", "openvino"],
        "evaluate": ["evaluate", root / "torch", labels, "-o", root / "scores"],
        "convert": ["convert", scans, "-o", root / "converted"],
        "inspect": ["inspect", run, "-o", root / "inspected"],
        "export onnx": ["export", run, "--to", "onnx", "-o", root / "x"],
        "export bundle": ["export", run, "--to", "monai-bundle", "-o", root / "b"],
        "pacs": ["pacs", run, "-o", root / "node", "--allow", "ANY", "--port", "11112"],
        "ui": ["ui", root / "runs"],
    }
    return {name: [str(word) for word in line] for name, line in lines.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("unshare") or not shutil.which("strace"):
        pytest.skip("needs the commands unshare and strace")
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no right to make a network namespace here")
    root = tmp_path_factory.mktemp("closed")
    (root / "home").mkdir()
    tracked = {**CONFIG, "tracking": {"enabled": True}}
    (root / "config.yaml").write_text(yaml.safe_dump(tracked))
    study = {"name": "s", "base": "config.yaml", "folds": [0]}
    study["variations"] = {"one": {}, "two": {"training": {"seed": 1}}}
    (root / "study.yaml").write_text(yaml.safe_dump(study))
    return root


def watched(root: Path, name: str, words: list[str]) -> str:
    """Runs a call to its end; the system calls that it made on the network."""
    trace, log = root / f"{name}.trace", root / f"{name}.log"
    strace = ["strace", "-f", "--seccomp-bpf", "-o", str(trace)]
    strace += ["-e", "trace=connect,sendto,sendmsg,sendmmsg"]
    program = [*strace, sys.executable, "-m", "medseg", *words]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(CI_SIGNS)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "-rn", sys.executable, "-c", CLOSED, *program],
            env={**plain, "HOME": str(root / "home")},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        sign = ENDLESS.get(name, "")
        while sign and process.poll() is None:
            if sign in log.read_text():
                os.killpg(process.pid, signal.SIGINT)
                break
            time.sleep(0.5)
        process.wait()
    ended = {130, 0} if name in ENDLESS else {0}
    assert process.returncode in ended, log.read_text()
    return trace.read_text(errors="replace")


def outward(trace: str) -> list[str]:
    """Lines in which an address of another machine stands, DNS servers included."""
    lines = [line for line in trace.splitlines() if "sa_family=AF_INET" in line]
    return [x for x in lines if not re.search(rf'"({LOOPBACK})"', x)]


def test_no_verb_calls_anybody(root: Path, tiny_study: Path) -> None:
    for name, words in calls(root, tiny_study).items():
        assert not outward(watched(root, name, words)), name
    home = root / "home"
    files = [p.relative_to(home) for p in home.rglob("*") if p.is_file()]
    assert {"/".join(p.parts[:2]) for p in files} <= KEPT


CALLER = """
import socket
try:
    socket.getaddrinfo("medseg.invalid", 80)
except OSError:
    pass
with socket.socket() as s:
    s.settimeout(1)
    s.connect_ex(("192.0.2.1", 80))
"""


def test_the_watch_sees_a_call(root: Path) -> None:
    """The check itself: a program that does call somebody is caught."""
    trace = root / "caught.trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=connect"]
    line = [sys.executable, "-c", CLOSED, *strace, sys.executable, "-c", CALLER]
    subprocess.run(["unshare", "-rn", *line], check=True)
    assert any("192.0.2.1" in x for x in outward(trace.read_text()))
