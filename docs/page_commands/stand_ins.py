"""What is put in place of what is not there, and what is left out.

The rules are in `stand_ins.yaml`, each with its reason.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import yaml

from page_commands.steps import SHELL, Step

RULES = Path(__file__).with_name("stand_ins.yaml")


@dataclass(frozen=True)
class Rule:
    """Something of a command that is replaced, or a command that is left out.

    Attributes:
        find: A regular expression.
        why: The reason.
        pages: A pattern of pages.
        put: What takes the place of a match; unused where a command is left out.
    """

    find: str
    why: str
    pages: str = "*"
    put: str = ""

    def meets(self, step: Step) -> bool:
        """Whether the rule is about this step."""
        return fnmatch(step.page, self.pages) and bool(re.search(self.find, step.text))


@dataclass(frozen=True)
class Rules:
    """All that the rules' file says.

    Attributes:
        pages: Pages to be run, from the repository's root.
        not_run: Of these, those that were not run yet, each with the reason.
        prepared: Python to be run before a page's first command.
        left_out: Commands that are not run.
        stand_ins: What is replaced, one rule after the other.
    """

    pages: tuple[str, ...]
    not_run: dict[str, str]
    prepared: dict[str, str]
    left_out: tuple[Rule, ...]
    stand_ins: tuple[Rule, ...]

    @classmethod
    def read(cls, path: Path = RULES) -> "Rules":
        """The rules of a file."""
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return cls(
            pages=tuple(values["pages"]),
            not_run=values["not_run"],
            prepared=values["prepared"],
            left_out=tuple(Rule(**rule) for rule in values["left_out"]),
            stand_ins=tuple(Rule(**rule) for rule in values["stand_ins"]),
        )

    def why_left_out(self, step: Step) -> str | None:
        """Why a step is not run; None where it is."""
        return next((rule.why for rule in self.left_out if rule.meets(step)), None)

    def as_run(self, step: Step) -> tuple[str, str]:
        """What is run for a step, and why that is not what the page says (or empty)."""
        text, reasons = step.text, []
        for rule in self.stand_ins:
            if rule.meets(step):
                text = re.sub(rule.find, rule.put, text)
                reasons.append(rule.why)
        return text, "; ".join(reasons)


def allowed_codes(command: str) -> set[int]:
    """Exit codes of what did its work; doctor's 1 says that there are findings."""
    return {0, 1} if command.startswith("medseg doctor") else {0}


def needs_network(step: Step) -> bool:
    """Whether a step asks an index for packages."""
    asks = re.match(r"pip (install (?!--no-index)|wheel |download )", step.text)
    return step.kind == SHELL and bool(asks)


def needs_checkout(step: Step) -> bool:
    """Whether a step is one that is given in the folder of a checkout."""
    given_there = re.match(r'pip (install "?\.|wheel )', step.text)
    return step.kind == SHELL and bool(given_there)
