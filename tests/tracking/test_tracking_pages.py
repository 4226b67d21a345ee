"""MLflow's own pages in a real browser: the table of runs, as `medseg ui` opens it."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1440,900",
    "--virtual-time-budget=40000",
)
SCORES = {"dice": 0.8125, "nsd": 0.9375, "hd95": 3.25, "n": 3.0}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(BROWSER is None, reason="no chromium to open the pages with"),
]


def ui_of(runs: Path) -> tuple["subprocess.Popen[str]", str]:
    """`medseg ui`, and the address that it says."""
    command = [sys.executable, "-m", "medseg", "ui", str(runs), "--port", "5731"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"open (http\S+) in a browser", line):
            return process, found[1]
    raise AssertionError(f"no address was said; exit code {process.wait()}")


def test_the_runs_of_a_study_are_rows_with_their_scores(
    start, runs, tmp_path_factory
) -> None:
    scratch = tmp_path_factory.mktemp("browser")
    parent = start("study", experiment="losses")
    for number, loss in enumerate(("dice_ce", "focal", "tversky")):
        run = start(loss, experiment="losses", parent_folder=parent.folder)
        run.set_tags({"loss": loss, "seed": "0", "network": "unet"})
        run.log_metrics({**SCORES, "dice": 0.8125 - number / 8}, step=0)
        run.finish("FINISHED")
    parent.finish("FINISHED")
    process, address = ui_of(runs)
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        page = subprocess.run(
            [
                str(BROWSER),
                *OPTIONS,
                f"--user-data-dir={scratch / 'profile'}",
                f"--log-net-log={scratch / 'net.json'}",
                "--dump-dom",
                address,
            ],
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        ).stdout
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not psutil.wait_procs(family, 10)[1]  # SIGTERM ends the server, too
    words = re.sub(r"<[^>]+>", " ", page)
    for part in ("dice_ce", "focal", "tversky", "0.8125", "0.6875", "0.5625"):
        assert part in words, part
    assert "Default" not in words
    assert asked_elsewhere(scratch / "net.json", address) == []


def asked_elsewhere(log: Path, address: str) -> list[str]:
    """What the page asked other machines for."""
    text = log.read_text()
    events = json.loads(
        text if text.rstrip().endswith("}") else f"{text.rstrip(',')}]}}"
    )
    own = address.partition("/#")[0]
    asked = [event.get("params", {}) for event in events["events"]]
    return [
        params["url"]
        for params in asked
        if params.get("initiator", "").startswith(own)
        and not params.get("url", own).startswith((own, "data:", "blob:"))
    ]
