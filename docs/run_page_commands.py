"""Runs the first commands of README.md and the site from an empty environment.

    python docs/run_page_commands.py [PAGE ...] [--keep FOLDER]

The log is written to docs/page_commands/log.jsonl and docs/start/first_commands.md;
where pages are named, theirs are run anew and the others kept. What may be replaced or
left out, and why, is in docs/page_commands/stand_ins.yaml. The exit code is 1 where a
command failed. --keep names a folder that is made and kept, with what commands printed;
where it is there already, its environment gets the new wheel, and pages are run in it.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from page_commands.environment import ROOT, Environment
from page_commands.log import Entry, Log
from page_commands.session import Session
from page_commands.stand_ins import Rules
from page_commands.steps import PYTHON, Step, read_steps

INSTALL = "docs/start/install.md"
BEFOREHAND = 'pip install "$(echo dist/*.whl)[demo,pacs]"'
"""What makes an environment for pages that are run without the install page."""


def run_page(page: str, environment: Environment, rules: Rules) -> Iterator[Entry]:
    """Runs a page's steps; those after a failed one as well, which is said."""
    folder = environment.make_folder(page)
    with Session(environment, folder, folder.with_suffix(".txt")) as session:
        if prepared := rules.prepared.get(page):
            code, _ = session.run(Step(page, PYTHON, prepared), prepared)
            if code:
                raise SystemExit(f"{page}: its data could not be made")
        for step in read_steps(ROOT / page, name=page):
            if why := rules.why_left_out(step):
                yield Entry(page, step.kind, step.text, why=why)
                continue
            text, why = rules.as_run(step)
            code, seconds = session.run(step, text)
            other = text if text != step.text else ""
            entry = Entry(
                page, step.kind, step.text, other, why, code, round(seconds, 1)
            )
            print(
                f"{'' if entry.is_good else 'NO':2} {code:3} {seconds:7.1f} s",
                step.title,
                flush=True,
            )
            yield entry


def machine(environment: Environment) -> str:
    """What the commands are run on, in words."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    threads = os.environ.get("OMP_NUM_THREADS")
    network = "closed" if environment.closes_network else "open"
    return (
        f"Python {platform.python_version()}, {platform.system()}, {processor}, "
        f"{psutil.cpu_count()} cores{f' ({threads} thread)' if threads else ''}, "
        f"load {load:.0f} at the beginning; network {network} but for pip."
    )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def main(folder: Path, pages: list[str]) -> int:
    """The exit code."""
    rules = Rules.read()
    environment = Environment(folder)
    if (folder / "env").is_dir():
        environment.renew()
    else:
        environment.make()
        if INSTALL not in pages:
            environment.run_in_checkout(BEFOREHAND)
    for page in sorted(pages, key=lambda page: page != INSTALL):
        print(page)
        where = machine(environment)
        entries = list(run_page(page, environment, rules))
        log = Log.read().with_page(page, where, entries).ordered(rules.pages)
        log.write(not_run=rules.not_run)
    log = Log.read()
    failed = [entry for entry in log.entries if not entry.is_good]
    print(f"{len(log.entries)} commands, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=Rules.read().pages)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        sys.exit(main(arguments.keep.resolve(), list(arguments.pages)))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary), list(arguments.pages)))
