"""The commands of a page, read from the page itself, in the order in which they stand.

Shell commands stand in blocks without a language or of a shell's, or in notebook cells
that begin with `%%bash`; a block is divided where bash says that a command is complete.
Lines of pip in running text and in tables count as well. Python stands in blocks of its
language and in the other cells.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHELL, PYTHON, FILE = "shell", "python", "file"
SHELLS = {"", "bash", "console", "sh"}
"""What a block is called that holds shell commands."""
FENCE = re.compile(r"^(?P<ticks>```+)(?P<language>.*)$")
INSTALL_LINE = re.compile(r"`(pip [^`]+)`")


@dataclass(frozen=True)
class Step:
    """Something to be run.

    Attributes:
        page: File of the page, from the repository's root.
        kind: SHELL, PYTHON, or FILE: a file to be written, its name in the first line.
        text: The command, as the page has it.
    """

    page: str
    kind: str
    text: str

    @property
    def title(self) -> str:
        """The command in one line."""
        first, *rest = self.text.splitlines()
        more = f" ... ({len(rest)} more lines)" if rest else ""
        if self.kind == PYTHON:
            return f"Python: {first}{more}"
        return (f"file {first}" if self.kind == FILE else first) + more


def read_steps(page: Path, *, name: str) -> list[Step]:
    """All commands of a page.

    Args:
        page: A Markdown file, or a notebook in Markdown.
        name: What the steps call it.
    """
    steps: list[Step] = []
    for language, text in _parts(page.read_text(encoding="utf-8")):
        if language is None:
            steps += [Step(name, SHELL, line) for line in INSTALL_LINE.findall(text)]
        elif language.startswith("{code-cell}"):
            steps += _steps_of_cell(name, text)
        elif language in SHELLS:
            steps += [Step(name, SHELL, command) for command in commands(text)]
        elif language == "python":
            steps.append(Step(name, PYTHON, text))
    return steps


def commands(text: str) -> list[str]:
    """The commands of a block, each with its continued lines and here-documents."""
    found: list[str] = []
    waiting: list[str] = []
    for line in text.splitlines():
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting.append(line)
        if _is_complete("\n".join(waiting)):
            found.append("\n".join(waiting).strip())
            waiting = []
    if waiting:
        raise ValueError(f"no whole shell command: {' '.join(waiting)}")
    return found


def _is_complete(text: str) -> bool:
    """Whether bash reads it without wanting more; warnings are of here-documents."""
    if text.endswith("\\"):
        return False
    read = subprocess.run(
        ["bash", "-n"], input=text + "\n", text=True, capture_output=True, check=False
    )
    return read.returncode == 0 and not read.stderr


def _parts(text: str) -> Iterator[tuple[str | None, str]]:
    """Blocks with their language, and the text between them with None."""
    language: str | None = None
    ticks = ""
    lines: list[str] = []
    for line in text.splitlines():
        fence = FENCE.match(line)
        if language is None and fence:
            yield None, "\n".join(lines)
            language, ticks, lines = fence["language"].strip(), fence["ticks"], []
        elif language is not None and line.strip() == ticks:
            yield language, "\n".join(lines)
            language, lines = None, []
        else:
            lines.append(line)
    yield None, "\n".join(lines)


def _steps_of_cell(page: str, text: str) -> list[Step]:
    lines = text.splitlines()
    while lines and lines[0].startswith(":"):  # options of the cell
        lines.pop(0)
    body = "\n".join(lines[1:])
    if not lines:
        return []
    if lines[0].strip() == "%%bash":
        return [Step(page, SHELL, command) for command in commands(body)]
    if lines[0].startswith("%%writefile "):
        return [Step(page, FILE, f"{lines[0].split(maxsplit=1)[1].strip()}\n{body}")]
    return [Step(page, PYTHON, "\n".join(lines))]
