"""The log of the commands: lines of JSON, and the page of the site made of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from page_commands.stand_ins import allowed_codes
from page_commands.steps import Step

LOG = Path(__file__).with_name("log.jsonl")
PAGE = Path(__file__).parents[1] / "start" / "first_commands.md"
HEAD = """\
# First commands, run

`make commands` makes an empty environment, builds the wheel, and runs what these pages
tell a newcomer to type, read from the pages themselves, each page in an empty folder.
Only pip has a network. This is its log, with all that was replaced or left out, and the
reason. A test compares it with the pages.

"""


@dataclass(frozen=True)
class Entry:
    """What became of a step.

    Attributes:
        page: The step's page.
        kind: The step's kind.
        text: The command, as the page has it.
        run_as: What was run, where that is something else.
        why: Why it is something else, or was left out.
        code: Exit code; None where it was left out.
        seconds: How long it took.
    """

    page: str
    kind: str
    text: str
    run_as: str = ""
    why: str = ""
    code: int | None = None
    seconds: float = 0.0

    @property
    def step(self) -> Step:
        """What the page says."""
        return Step(self.page, self.kind, self.text)

    @property
    def is_good(self) -> bool:
        """Whether it did its work, or was left out for a reason."""
        if self.code is None:
            return bool(self.why)
        return self.code in allowed_codes(self.text)


@dataclass(frozen=True)
class Log:
    """Where the commands were run, page by page, and what became of them.

    Attributes:
        machines: What each page was run on.
        entries: In the order of the pages.
    """

    machines: Mapping[str, str]
    entries: Sequence[Entry]

    @classmethod
    def read(cls, path: Path = LOG) -> "Log":
        """The log of a file; an empty one where it is not there."""
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        machines, entries = {}, []
        for line in text.splitlines():
            values = json.loads(line)
            if "machine" in values:
                machines[values["page"]] = values["machine"]
            else:
                entries.append(Entry(**values))
        return cls(machines, entries)

    def with_page(self, page: str, machine: str, entries: Iterable[Entry]) -> "Log":
        """The log with another run of a page."""
        others = [entry for entry in self.entries if entry.page != page]
        return Log({**self.machines, page: machine}, [*others, *entries])

    def ordered(self, pages: Sequence[str]) -> "Log":
        """The log of these pages alone, in their order."""
        kept = [entry for entry in self.entries if entry.page in pages]
        machines = {p: self.machines[p] for p in pages if p in self.machines}
        return Log(machines, sorted(kept, key=lambda entry: pages.index(entry.page)))

    def write(
        self, path: Path = LOG, page: Path = PAGE, *, not_run: Mapping[str, str]
    ) -> None:
        """Writes the lines, and the site's page of them.

        Args:
            path: Where the lines go.
            page: Where the page goes.
            not_run: Pages that are not in the log, with the reason.
        """
        lines = [
            json.dumps({"page": name, "machine": machine})
            for name, machine in self.machines.items()
        ]
        for entry in self.entries:
            default = asdict(Entry("", "", ""))
            values = {k: v for k, v in asdict(entry).items() if v != default[k]}
            lines.append(json.dumps(values, ensure_ascii=False))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        page.write_text(self.as_page(not_run), encoding="utf-8")

    def as_page(self, not_run: Mapping[str, str]) -> str:
        """The page of the site."""
        parts = [HEAD]
        parts += [
            f"{_title(page)} was not run: {why}.\n\n" for page, why in not_run.items()
        ]
        for name, group in groupby(self.entries, key=lambda entry: entry.page):
            entries = list(group)
            seconds = sum(entry.seconds for entry in entries)
            parts.append(f"## {_title(name)}\n\n{self.machines.get(name, '')} ")
            parts.append(f"All together: {seconds:.0f} s.\n\n")
            parts.append("| command | exit code | seconds |\n|---|---|---|\n")
            parts += [_row(entry) for entry in entries]
            parts.append("\n")
        return "".join(parts).rstrip() + "\n"


def _title(name: str) -> str:
    if not name.startswith("docs/"):
        return name
    inside = name.removeprefix("docs/")
    return f"[{inside.removesuffix('.md')}](../{inside})"


def _row(entry: Entry) -> str:
    text = _code(entry.step.title)
    if entry.code is None:
        return f"| {text}<br>left out: {entry.why} | | |\n"
    if entry.run_as:
        shown = Step(entry.page, entry.kind, entry.run_as).title
        text += f"<br>run as {_code(shown)}: {entry.why}"
    elif entry.why:
        text += f"<br>{entry.why}"
    return f"| {text} | {entry.code} | {entry.seconds:.1f} |\n"


def _code(text: str) -> str:
    return "`` " + text.replace("|", "\\|") + " ``"
