"""Damaged files and killed calls: what ends a batch, and what is lost.

    python benchmarks/faults.py                       all of it: hours
    python benchmarks/faults.py --mutants 100 --kills 6 --verbs convert,predict
    python benchmarks/faults.py --seed 123456         the same damage again
    python benchmarks/faults.py --json                rows, as other benchmarks print

Damaged copies of DICOM, NIfTI, NRRD, MHA, PNG, TIFF, SEG and RTSTRUCT files lie beside
two healthy scans, `BATCH` to a call. A call must end by itself with exit code 0 or 1,
no more than 60 s and 2 GB above a call with the healthy scans alone, and the results of
these must be the same. Calls that are killed at a random moment and repeated must come
to what an undisturbed call comes to, and leave a tracking store that can be used.
Seeds are drawn when it runs and printed. Linux alone, as memory is read from /proc.
"""

import argparse
import random
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fault_inputs import VERBS, Study
from kills import KILLED, Kills
from machine import describe_machine, print_rows
from mutants import plant
from watched import Ended, watch

BATCH = 50
"""Damaged files of one call."""
MORE_SECONDS, MORE_MB = 60.0, 2000.0
"""Above a call with the healthy scans alone."""


@dataclass
class Tally:
    """What became of one verb's calls.

    Attributes:
        verb: The verb.
        mutants: Damaged files given to it.
        calls: Of it.
        stopped: Calls that ended otherwise than with exit code 0 or 1.
        slow: Calls that took too long.
        large: Calls that took too much memory.
        changed: Calls whose healthy scans came out otherwise.
        seconds: Most that a call took above the healthy one.
        megabytes: The same for memory.
        faults: What went wrong, in words.
    """

    verb: str
    mutants: int = 0
    calls: int = 0
    stopped: int = 0
    slow: int = 0
    large: int = 0
    changed: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    faults: list[str] = field(default_factory=list)

    def note(self, found: Ended, clean: Ended, *, same: bool, where: Path) -> None:
        """Counts one call."""
        more = found.seconds - clean.seconds, found.peak_mb - clean.peak_mb
        self.seconds = max(self.seconds, more[0])
        self.megabytes = max(self.megabytes, more[1])
        wrong = {
            "stopped": found.code not in (0, 1),
            "slow": more[0] > MORE_SECONDS,
            "large": more[1] > MORE_MB,
            "changed": not same,
        }
        for name, is_so in wrong.items():
            setattr(self, name, getattr(self, name) + is_so)
        if any(wrong.values()):
            names = ", ".join(name for name, is_so in wrong.items() if is_so)
            last = found.text.strip().splitlines()[-1:] or [""]
            self.faults.append(
                f"{self.verb}: {names} (code {found.code}, {more[0]:+.0f} s, "
                f"{more[1]:+.0f} MB): {last[0][:160]}; kept in {where}"
            )


def try_verb(
    verb: str,
    study: Study,
    count: int,
    rng: random.Random,
    *,
    say: Callable[[str], None],
) -> Tally:
    """Gives one verb so many damaged files."""
    tally = Tally(verb)
    make = VERBS[verb]
    clean_call = make(study, study.folder / f"{verb}_clean", [])
    clean = watch(*clean_call.arguments, log=study.folder / "log.txt")
    if clean.code != 0:
        raise SystemExit(f"{verb} of healthy scans failed: {clean.text[-2000:]}")
    expected = clean_call.results()
    if verb != "doctor" and not (expected and all(expected.values())):
        raise SystemExit(f"{verb} of healthy scans came to nothing: {expected}")
    while tally.mutants < count:
        number = min(BATCH, count - tally.mutants)
        folder = study.folder / f"{verb}_{tally.calls:03d}"
        kinds = clean_call.kinds
        order = rng.sample(kinds, len(kinds))
        mutants = plant(
            clean_call.place(folder),
            order,
            number,
            rng,
            as_labels=clean_call.are_labels,
        )
        call = make(study, folder, mutants)
        found = watch(*call.arguments, log=study.folder / "log.txt")
        same = call.results() == expected
        before = len(tally.faults)
        tally.note(found, clean, same=same, where=folder)
        tally.mutants += number
        tally.calls += 1
        if len(tally.faults) == before:
            shutil.rmtree(folder)
        else:
            say(tally.faults[-1])
    return tally


def rows_of(
    tallies: Sequence[Tally], kills: Sequence[Kills]
) -> list[dict[str, object]]:
    """Rows of name and value, for tables over time."""
    rows: list[dict[str, object]] = []
    for tally in tallies:
        for name in ("mutants", "calls", "stopped", "slow", "large", "changed"):
            value = getattr(tally, name)
            rows.append({"name": f"{tally.verb} {name}", "value": value, "unit": ""})
        rows.append(
            {"name": f"{tally.verb} longest", "value": tally.seconds, "unit": "s"}
        )
        rows.append(
            {"name": f"{tally.verb} largest", "value": tally.megabytes, "unit": "MB"}
        )
    for kill in kills:
        for name in ("kills", "different", "unusable"):
            value = getattr(kill, name)
            rows.append({"name": f"{kill.verb} {name}", "value": value, "unit": ""})
    return rows


def print_tables(tallies: Sequence[Tally], kills: Sequence[Kills]) -> None:
    """Both tables, in Markdown."""
    print("| verb | damaged files | calls | stopped | over 60 s | over 2 GB | ", end="")
    print("healthy changed | longest, s | largest, MB |\n|---|" + "---|" * 8)
    for t in tallies:
        print(
            f"| {t.verb} | {t.mutants} | {t.calls} | {t.stopped} | {t.slow} | "
            f"{t.large} | {t.changed} | {t.seconds:+.0f} | {t.megabytes:+.0f} |"
        )
    print("\n| verb | kills | other results | unusable stores |\n|---|---|---|---|")
    for k in kills:
        print(f"| {k.verb} | {k.kills} | {k.different} | {k.unusable} |")


def main() -> None:
    """Runs what was asked for; exit code 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=1000, help="per verb")
    parser.add_argument("--kills", type=int, default=102, help="of all verbs together")
    parser.add_argument("--verbs", default=",".join(VERBS))
    parser.add_argument("--killed", default=",".join(KILLED))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    shown = sys.stderr if options.json else sys.stdout
    print(f"seed {seed}", file=shown, flush=True)

    def say(text: str) -> None:
        print(text, file=shown, flush=True)

    folder = Path(tempfile.mkdtemp(prefix="medseg_faults_"))
    study = Study.make(folder)
    tallies = [
        try_verb(verb, study, options.mutants, random.Random(f"{seed} {verb}"), say=say)
        for verb in filter(None, options.verbs.split(","))
        if options.mutants
    ]
    verbs = list(filter(None, options.killed.split(",")))
    kills = [
        KILLED[verb](study, verb).run(
            options.kills // len(verbs), random.Random(f"{seed} kill {verb}"), say=say
        )
        for verb in verbs
        if options.kills
    ]
    if options.json:
        print_rows(rows_of(tallies, kills), machine=describe_machine())
    else:
        print(f"\n{describe_machine()}\n")
        print_tables(tallies, kills)
    wrong = [fault for tally in (*tallies, *kills) for fault in tally.faults]
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
