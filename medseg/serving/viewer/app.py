"""The application: a list of cases, their pages, and the desk for own pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import MedsegError
from medseg.pages import render
from medseg.reporting.viewer.page import viewer_page
from medseg.serving.viewer.cases import CaseList

if TYPE_CHECKING:
    from fastapi import FastAPI

    from medseg.serving.viewer.desk import Desk

MOST_VOXELS = 40_000_000
"""Of a case that is read when it is opened: the page goes no further than here."""


def make_app(cases: CaseList | None, desk: "Desk | None" = None) -> "FastAPI":
    """The application, not yet guarded; see `LocalAccess`.

    Args:
        cases: What to look at; None for the desk alone.
        desk: Where own pictures are segmented.
    """
    from fastapi import FastAPI
    from fastapi.responses import (
        FileResponse,
        HTMLResponse,
        PlainTextResponse,
        Response,
    )

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(MedsegError)
    async def refuse(_: object, error: MedsegError) -> PlainTextResponse:
        return PlainTextResponse(f"{error}\n", status_code=422)

    @app.get("/favicon.ico", status_code=204, response_class=Response)
    def icon() -> None:
        """Browsers ask for it by themselves; there is none."""

    if desk is not None:
        from medseg.serving.viewer.desk_routes import add_desk

        add_desk(app, desk)
    if cases is None:
        return app

    @app.get("/", response_class=HTMLResponse)
    def listed() -> str:
        return _list_page(cases)

    @app.get("/cases/{number}", response_class=HTMLResponse)
    def one_case(number: int) -> HTMLResponse:
        there = 0 <= number < len(cases.entries)
        entry = cases.entries[number] if there else None
        if entry is None or entry.read is None:
            return HTMLResponse("no such case", status_code=404)
        return HTMLResponse(
            viewer_page(entry.read(), most_voxels=MOST_VOXELS, back="../")
        )

    @app.get("/files/{address:path}", response_model=None)
    def file(address: str) -> FileResponse | PlainTextResponse:
        path = cases.served(address)
        if path is None:
            return PlainTextResponse("no such page\n", status_code=404)
        return FileResponse(path)

    return app


def _list_page(cases: CaseList) -> str:
    entries = [
        {
            "name": entry.name,
            "address": f"cases/{number}"
            if entry.page is None
            else f"files/{_address(entry.page)}",
        }
        for number, entry in enumerate(cases.entries)
    ]
    reports = [
        {"name": report.parent.as_posix(), "address": f"files/{_address(report)}"}
        for report in cases.reports
    ]
    return render(
        "cases.html",
        title=f"Cases of {cases.title}",
        subtitle=f"{len(entries)} cases",
        figures={},
        warnings=(),
        sections={},
        entries=entries,
        reports=reports,
    )


def _address(path: Path) -> str:
    from urllib.parse import quote

    return quote(path.as_posix())
