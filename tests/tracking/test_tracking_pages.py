"""MLflow's own pages in a real browser: the table of runs, as `medseg ui` opens it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from chromium import chromium
from PIL import Image

from medseg.labels import LabelScheme
from medseg.reporting.viewer.page import ViewedCase, stand_alone, write_viewer_page
from medseg.structure_colors import rgb_of
from medseg.tracking import default_tracking_uri
from medseg.tracking.store import connect
from medseg.volume import LabelMap, Volume

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


COLOUR = np.array(rgb_of(1))
"""Of the first structure's line and fill."""


def test_a_case_is_looked_at_among_the_artifacts(
    start, runs, tmp_path, tmp_path_factory
) -> None:
    voxels = np.random.default_rng(0).normal(100, 5, (1, 24, 24, 24))
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[6:18, 6:18, 6:18] = 1
    case = ViewedCase(
        "case_1",
        Volume(voxels.astype(np.float32), np.eye(4)),
        LabelScheme(names={"box": 1}),
        LabelMap(labels, np.eye(4)),
    )
    page = tmp_path / "pages" / "case_1.html"
    write_viewer_page(page, case, back="../report.html")
    run = start("seen", experiment="cases")
    alone = tmp_path / "case_1.html"
    alone.write_text(stand_alone(page.read_text()))
    run.log_artifact(alone, folder="viewer")
    run.finish("FINISHED")
    process, address = ui_of(runs)
    own = address.partition("/#")[0]
    experiment = connect(default_tracking_uri(runs)).get_run(run.run_id)
    try:
        with chromium(tmp_path_factory.mktemp("profile")) as tab:
            tab.show(1440, 900)
            number = experiment.info.experiment_id
            tab.open(
                f"{own}/#/experiments/{number}/runs/{run.run_id}"
                "/artifacts/viewer/case_1.html"
            )
            for _ in range(600):
                picture = tab.picture().astype(int)
                near = np.abs(picture - COLOUR).max(axis=2) < 40
                if near.sum() > 200:
                    break
                time.sleep(0.5)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "seen.png")
            assert near.sum() > 200, tmp_path / "seen.png"
            elsewhere = [asked for asked in tab.requests if not asked.startswith(own)]
            assert elsewhere == []
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


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
