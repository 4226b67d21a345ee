"""Addresses of the desk: files in, a job, its state, results out."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

from medseg.files import atomic_write
from medseg.pages import render
from medseg.serving.viewer.desk import RESULTS, Desk

if TYPE_CHECKING:
    from fastapi import FastAPI


def add_desk(app: "FastAPI", desk: Desk) -> None:
    """Adds the desk's page and addresses to an application."""
    from fastapi import Body, Request
    from fastapi.responses import (
        FileResponse,
        HTMLResponse,
        PlainTextResponse,
        StreamingResponse,
    )

    @app.get("/desk", response_class=HTMLResponse)
    def page() -> str:
        return render(
            "desk.html",
            title="Segment your own pictures and scans",
            subtitle="On this machine: nothing is sent anywhere.",
            figures={},
            warnings=(),
            sections={},
            models=list(desk.models),
        )

    @app.put("/api/files/{name:path}", status_code=201)
    async def put(name: str, request: Request) -> dict[str, str]:
        path = desk.place_for(name)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            async for block in request.stream():
                stream.write(block)
        return {"name": path.name}

    @app.post("/api/jobs", status_code=202)
    def start(model: Annotated[str, Body(embed=True)]) -> dict[str, str]:
        desk.start(model)
        return {}

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return desk.state()

    @app.get("/results/{address:path}", response_model=None)
    def result(address: str) -> FileResponse | PlainTextResponse:
        path = desk.result(address)
        if path is None:
            return PlainTextResponse("no such file\n", status_code=404)
        return FileResponse(path)

    @app.get("/api/results.zip")
    def download() -> StreamingResponse:
        blocks = _zipped(desk.folder / RESULTS, desk.results())
        headers = {"Content-Disposition": 'attachment; filename="medseg_results.zip"'}
        return StreamingResponse(blocks, media_type="application/zip", headers=headers)


def _zipped(folder: Path, files: list[Path]) -> Iterator[bytes]:
    """An archive of files, in blocks."""
    with TemporaryFile() as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(folder).as_posix())
        stream.seek(0)
        while block := stream.read(1 << 20):
            yield block
