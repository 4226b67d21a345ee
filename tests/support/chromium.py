"""A headless Chromium that a test drives: pages, clicks, pictures, requests.

It speaks the DevTools protocol over a pipe, so that neither a port nor a further
package is needed. No host can be reached but this machine's own servers.
"""

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    EXECUTABLE is None, reason="no chromium to open the page with"
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""  # the browser reads commands from 3 and answers on 4
_SILENCE = 300
"""Seconds after which a browser that says nothing is given up."""
_LOCAL = ("data:", "blob:", "file:", "about:")


class Page:
    """One tab; `faults` are errors that the page or its requests had."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._number, self._buffer = 0, b""
        self._session: dict[str, str] = {}
        self.faults: list[str] = []
        self.requests: list[str] = []
        """Addresses that were asked for and are not part of a file."""
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a DevTools command.

        Raises:
            RuntimeError: The browser refuses it.
        """
        self.send(method, **params)
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def send(self, method: str, **params: Any) -> None:
        """Sends a DevTools command without waiting for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        line = memoryview(json.dumps(message | self._session).encode() + b"\0")
        while line:
            line = line[os.write(self._commands, line) :]

    def open(self, address: str | Path, *, until: str = "") -> None:
        """Opens a file or an address, and waits until an expression is true."""
        self._loaded = False
        url = address.resolve().as_uri() if isinstance(address, Path) else address
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._read()
        if until:
            self.wait(until)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; promises are awaited.

        Raises:
            RuntimeError: It throws.
        """
        result = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            raise RuntimeError(f"{expression}: {text}")
        return result["result"].get("value")

    def wait(self, expression: str, *, tries: int = 1200) -> None:
        """Waits until an expression is true.

        Raises:
            RuntimeError: It does not become true.
        """
        for _ in range(tries):
            if self.evaluate(f"!!({expression})"):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{expression} did not become true; faults: {self.faults}")

    def show(self, width: int, height: int, *, scheme: str = "light") -> None:
        """Sets the size of the window in pixels, and light or dark colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, *, full: bool = False) -> np.ndarray:
        """What is shown, shape (rows, columns, 3); the full page where asked for."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
            return np.asarray(image.convert("RGB"))

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: ``mousePressed``, ``mouseMoved``, ``mouseReleased``..."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Presses and releases the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def drop(self, x: float, y: float, *paths: Path) -> None:
        """Drags files and folders of this machine onto a place and lets them go."""
        data = {"items": [], "files": [str(path) for path in paths]}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call(
                "Input.dispatchDragEvent",
                type=kind,
                x=x,
                y=y,
                data={**data, "dragOperationsMask": 1},
            )

    def press(self, key: str) -> None:
        """Presses and releases a key, named as in a KeyboardEvent."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], _SILENCE)
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError(f"the browser is silent; faults: {self.faults}")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = dict(json.loads(line))
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            said = details.get("exception", {}).get("description", details["text"])
            self.faults.append(said)
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            said = (arg.get("description", arg.get("value")) for arg in params["args"])
            self.faults.append(" ".join(map(str, said)))
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            self.requests += [] if url.startswith(_LOCAL) else [url]


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with one tab, ended with the block.

    Args:
        profile: An empty folder for its own files.
    """
    assert EXECUTABLE is not None
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    flags = (*_FLAGS, f"--user-data-dir={profile}")
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, ends), EXECUTABLE, *flags],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (to_browser, from_browser, *ends):
        os.close(end)
    try:
        page = Page(commands, answers)
        yield page
        page.send("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
        os.close(answers)
