"""Cases in a browser, on this machine only; own pictures, dropped and segmented."""

import asyncio
import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from chromium import chromium, needs_chromium

from medseg.cli.view import view
from medseg.errors import InputError, MissingFileError, SettingsError
from medseg.geometry import affine_from_spacing
from medseg.inference.settings import InferenceSettings
from medseg.io import write_label_map, write_volume
from medseg.prediction.records import Prediction
from medseg.progress import Silent
from medseg.reporting.viewer.niivue import SCRIPT
from medseg.serving.viewer import desk as desk_module
from medseg.serving.viewer.app import make_app
from medseg.serving.viewer.cases import cases_in, cases_of_files
from medseg.serving.viewer.desk import Desk, find_models
from medseg.serving.viewer.local_access import LocalAccess
from medseg.serving.viewer.serve import serve
from medseg.volume import LabelMap, Volume

AFFINE = affine_from_spacing((1.0, 1.0, 1.5))
PLAIN = InferenceSettings(engine="torch", precision="float32", overlap=0.5)
PORT, TOKEN = 8123, "a-token-of-this-test"
OWN = {"origin": f"http://127.0.0.1:{PORT}"}


def write_case(folder: Path, name: str, *, value: int = 1) -> None:
    voxels = np.random.default_rng(0).normal(size=(1, 24, 28, 20)).astype(np.float32)
    labels = np.zeros((24, 28, 20), np.uint8)
    labels[5:15, 5:15, 5:15] = value
    for part in ("scans", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_volume(folder / "scans" / f"{name}.nii.gz", Volume(voxels, AFFINE))
    write_label_map(folder / "labels" / f"{name}.nii.gz", LabelMap(labels, AFFINE))


def cases_of(folder: Path, **more):
    return cases_of_files(
        folder / "scans", folder / "labels", progress=Silent(), **more
    )


class Client:
    """A browser's requests without a browser: an address, cookies, an answer."""

    def __init__(self, app) -> None:
        self.app = LocalAccess(app, token=TOKEN, port=PORT)
        self.cookies = httpx.Cookies()

    def request(self, method: str, address: str, **more) -> httpx.Response:
        return asyncio.run(self._request(method, address, **more))

    async def _request(self, method: str, address: str, **more) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url=f"http://127.0.0.1:{PORT}",
            cookies=self.cookies,
        ) as client:
            answer = await client.request(method, address, **more)
            self.cookies = client.cookies
            return answer

    def get(self, address: str, **more) -> httpx.Response:
        return self.request("GET", address, **more)

    def put(self, address: str, **more) -> httpx.Response:
        return self.request("PUT", address, **more)

    def post(self, address: str, **more) -> httpx.Response:
        return self.request("POST", address, **more)


def client_of(app, *, known: bool = True) -> Client:
    client = Client(app)
    if known:
        assert client.get(f"/desk?token={TOKEN}").status_code == 303
    return client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_case(tmp_path, "a")
    write_case(tmp_path, "b")
    return tmp_path


def test_only_the_user_of_this_machine_is_answered(folder):
    client = client_of(make_app(cases_of(folder)), known=False)
    assert client.get("/").status_code == 403
    assert client.get("/?token=guessed").status_code == 403
    begun = client.get(f"/?token={TOKEN}")
    assert begun.status_code == 303
    assert begun.headers["location"] == "/"  # the token leaves the address
    assert {"HttpOnly", "SameSite=strict"} <= set(
        begun.headers["set-cookie"].split("; ")
    )
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "", "127.0.0.1:1"]
)
def test_other_names_of_this_machine_are_refused(folder, host):
    client = client_of(make_app(cases_of(folder)))
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_pages_of_others_change_nothing(tmp_path, origin):
    desk = Desk(tmp_path / "desk", {"a": tmp_path})
    client = client_of(make_app(None, desk))
    headers = {} if origin is None else {"origin": origin}
    answer = client.put("/api/files/a.png", content=b"1", headers=headers)
    assert answer.status_code == 403
    assert desk.num_files == 0


def test_cases_are_listed_and_opened(folder):
    client = client_of(make_app(cases_of(folder)))
    page = client.get("/").text
    assert page.count('href="cases/') == 2
    opened = client.get("/cases/1").text
    assert "<h1>b</h1>" in opened
    assert ">labels</th>" in opened
    assert 'id="niivue-script"' in opened  # needs no other file
    assert client.get("/cases/2").status_code == 404
    assert client.get("/cases/-1").status_code == 404


def test_references_and_names_of_a_model_are_shown(folder, model):
    cases = cases_of(folder, reference=folder / "labels", model=model)
    page = client_of(make_app(cases)).get("/cases/0").text
    assert ">reference</th>" in page
    assert 'data-structure="1"><i' in page
    assert "</i>ball</label>" in page


def test_a_scan_that_does_not_fit_its_labels_is_refused_in_words(folder):
    other = np.zeros((1, 5, 5, 5), np.float32)
    write_volume(folder / "scans" / "a.nii.gz", Volume(other, AFFINE))
    answer = client_of(make_app(cases_of(folder))).get("/cases/0")
    assert answer.status_code == 422
    assert "label map and scan differ" in answer.text


def test_pages_of_a_folder_are_served_and_nothing_else(tmp_path):
    for name in (
        "report.html",
        "validation/viewer/a.html",
        f"validation/viewer/{SCRIPT}",
    ):
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "secret.html").write_text("secret")
    (tmp_path / "run" / "config.yaml").write_text("secret")
    (tmp_path / "run" / "validation" / "viewer" / "link.html").symlink_to(
        tmp_path / "secret.html"
    )
    client = client_of(make_app(cases_in(tmp_path / "run")))
    page = client.get("/").text
    assert 'href="files/validation/viewer/a.html">a</a>' in page
    assert 'href="files/report.html"' in page
    for name in (
        "report.html",
        "validation/viewer/a.html",
        f"validation/viewer/{SCRIPT}",
    ):
        assert client.get(f"/files/{name}").text == name
    for name in ("config.yaml", "..%2fsecret.html", "validation/viewer/link.html"):
        answer = client.get(f"/files/{name}")
        assert answer.status_code == 404
        assert "secret" not in answer.text


def test_what_cannot_be_looked_at_is_said(folder, tmp_path):
    with pytest.raises(MissingFileError, match="holds no page of a case"):
        cases_in(folder)
    with pytest.raises(MissingFileError, match="no such folder"):
        cases_in(tmp_path / "nowhere")
    (folder / "scans" / "a.nii.gz").rename(folder / "scans" / "c.nii.gz")
    (folder / "scans" / "b.nii.gz").unlink()
    with pytest.raises(MissingFileError, match="no scan has the name of a label map"):
        cases_of(folder)


def test_models_of_the_package_are_offered_where_there_is_no_other(tmp_path):
    (name, folder), *_ = find_models(tmp_path).items()
    assert name.startswith("nuclei, comes with medseg (")
    assert (folder / "model.yaml").is_file()


def test_without_any_model_it_is_said_how_to_name_one(tmp_path, monkeypatch):
    monkeypatch.setattr(desk_module, "starter_names", tuple)
    with pytest.raises(MissingFileError, match="no model below it"):
        find_models(tmp_path)


def test_a_port_in_use_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="--port 0 takes a free one"):
            serve(None, port=port, open_browser=False, progress=Silent())


def test_one_case_is_written_as_a_page(folder, tmp_path):
    scan, labels = (folder / part / "a.nii.gz" for part in ("scans", "labels"))
    page = tmp_path / "case.html"
    view(scan, labels, out=page)
    assert 'id="niivue-script"' in page.read_text()
    with pytest.raises(SettingsError, match="the page of one case, of 2 here"):
        view(folder / "scans", folder / "labels", out=page)


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../b.png", "/etc/a.png", "", ".hidden", "..\\a.png"]
)
def test_names_that_lead_out_of_the_desk_are_refused(tmp_path, name):
    desk = Desk(tmp_path, {})
    with pytest.raises(InputError, match="no name for a file"):
        desk.place_for(name)


def test_the_desk_says_why_it_does_not_begin(tmp_path):
    desk = Desk(tmp_path, {"known": tmp_path})
    with pytest.raises(InputError, match="no such model"):
        desk.start("other")
    with pytest.raises(InputError, match="drop pictures or scans first"):
        desk.start("known")


def wait_for(desk: Desk) -> dict:
    while True:
        state = desk.state()
        if not state["running"]:
            return state
        time.sleep(0.1)


def test_what_is_put_down_is_segmented(model, folder):
    desk = Desk(folder / "desk", {"plain": model}, device="cpu", settings=PLAIN)
    client = client_of(make_app(None, desk))
    content = (folder / "scans" / "a.nii.gz").read_bytes()
    put = client.put("/api/files/mine/a.nii.gz", content=content, headers=OWN)
    assert put.status_code == 201
    assert client.put("/api/files/broken.nii", content=b"no", headers=OWN).is_success
    assert client.get("/api/state").json()["files"] == 2
    assert client.post("/api/jobs", json={"model": "plain"}, headers=OWN).is_success
    state = wait_for(desk)
    assert state["failure"] == ""
    rows = {row["name"]: row for row in state["rows"]}
    assert rows["mine__a"]["status"] == "done"
    assert set(rows["mine__a"]["sizes"]) == {"ball [ml]", "kernel [ml]"}
    assert rows["broken"]["status"] == "failed"
    assert rows["broken"]["remarks"]
    assert client.get(f"/results/{rows['mine__a']['viewer']}").status_code == 200
    assert client.get(f"/results/{rows['mine__a']['picture']}").status_code == 200
    assert client.get("/results/..%2fscans%2fbroken.nii").status_code == 404
    archive = zipfile.ZipFile(io.BytesIO(client.get("/api/results.zip").content))
    assert {"predictions.csv", "mine__a.nii.gz", "report.html"} <= set(
        archive.namelist()
    )


@pytest.mark.parametrize(
    ("line", "sizes", "remarks"),
    [
        (
            Prediction(
                "a", "done", doubts=("too dark",), volumes_ml={"liver": 1234.56}
            ),
            {"liver [ml]": 1235},
            ["suspect: too dark"],
        ),
        (
            Prediction("a", "done", areas_um2={"cell": 3.5}, num_objects=0),
            {"cell [µm²]": 3.5},
            [],
        ),
        (
            Prediction("a", "done", areas_px={"road": 7}, warnings=("pixel by pixel",)),
            {"road [px]": 7},
            ["pixel by pixel"],
        ),
        (Prediction("a", "failed", reason="torn"), {}, ["torn"]),
    ],
)
def test_the_desk_shows_sizes_counts_and_doubts(tmp_path, line, sizes, remarks):
    row = Desk(tmp_path, {})._row(line)
    assert (row["sizes"], row["remarks"]) == (sizes, remarks)
    assert row["count"] == line.num_objects
    assert row["suspect"] == bool(line.doubts)


def test_a_damaged_model_is_told_on_the_page(folder):
    (folder / "broken").mkdir()
    (folder / "broken" / "model.yaml").write_text("nothing: of use")
    assert next(iter(find_models(folder))) == "broken"
    desk = Desk(folder / "desk", find_models(folder), device="cpu")
    desk.place_for("a.nii.gz").write_bytes((folder / "scans" / "a.nii.gz").read_bytes())
    desk.start("broken")
    assert "model.yaml" in wait_for(desk)["failure"]


DROPPED = """
const data = new DataTransfer();
const bytes = Uint8Array.from(atob("CONTENT"), (letter) => letter.charCodeAt(0));
data.items.add(new File([bytes], "b.nii.gz"));
for (const kind of ["dragover", "drop"]) {
  const event = new DragEvent(kind, { dataTransfer: data, bubbles: true,
    cancelable: true });
  document.querySelector("#drop b").dispatchEvent(event);
}
"""
"""A file that a script drops: it lies nowhere on the disk."""


@pytest.mark.slow
@needs_chromium
def test_pictures_are_dropped_segmented_and_looked_at(model, folder, tmp_path_factory):
    models = folder / "models"
    models.mkdir()
    write_case(folder, "c")
    (folder / "mine" / "deep").mkdir(parents=True)
    for name in ("mine/deep/c.nii.gz", "mine/.hidden.nii.gz"):
        shutil.copy(folder / "scans" / "c.nii.gz", folder / name)
    (models / "plain").symlink_to(model)
    command = [sys.executable, "-m", "medseg", "view", "--models", str(models)]
    program = subprocess.Popen(
        [*command, "--no-browser", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert program.stdout is not None
        lines = iter(program.stdout.readline, "")
        address = next(
            found[0] for line in lines if (found := re.search(r"http://\S+", line))
        )
        with chromium(tmp_path_factory.mktemp("profile")) as tab:
            tab.show(900, 900)
            tab.open(address, until="document.documentElement.dataset.state")
            place = "document.querySelector('#drop').getBoundingClientRect()"
            x, y = (tab.evaluate(f"{place}.{side} + 20") for side in ("x", "y"))
            tab.drop(x, y, folder / "mine", folder / "scans" / "a.nii.gz")
            tab.wait("document.querySelector('#put').textContent === '2 files here'")
            content = base64.b64encode((folder / "scans" / "b.nii.gz").read_bytes())
            tab.evaluate(DROPPED.replace("CONTENT", content.decode()))
            tab.wait("document.querySelector('#put').textContent === '3 files here'")
            tab.wait("!document.querySelector('#start').disabled")
            tab.evaluate("document.querySelector('#start').click()")
            tab.wait("document.querySelector('#rows tbody a')", tries=8000)
            tab.wait("document.documentElement.dataset.state === 'idle'", tries=8000)
            tab.wait("document.querySelector('#pictures img').naturalWidth")
            names = (
                "[...document.querySelectorAll('#rows td.name')].map(c => c.innerText)"
            )
            assert tab.evaluate(names) == ["a", "b", "mine__deep__c"]
            viewer = tab.evaluate("document.querySelector('#rows tbody a').href")
            tab.open(viewer, until="document.documentElement.dataset.ready")
            assert tab.evaluate("document.querySelector('h1').textContent") == "a"
            assert tab.faults == []
            own = address.split("/desk")[0]
            assert all(asked.startswith(own) for asked in tab.requests)
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=60) == 0
    finally:
        program.kill()
        program.wait()
