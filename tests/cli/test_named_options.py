"""Messages recommend only options that there are, to the verb that has them."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from medseg.cli.app import app

ROOT = Path(__file__).parents[2] / "medseg"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+[a-z]")
FOREIGN = {
    "--array", "--parsable", "--job-name", "--output", "--dependency", "--time",
    "--cpus-per-task", "--mem", "--signal", "--gres", "--host", "--port", "--workers",
    "--backend-store-uri", "--default-artifact-root", "--nproc-per-node", "--datalist",
    "--dataset", "--config", "--bundle", "--meta", "--version",
}  # fmt: skip
"""Of SLURM, MLflow, torchrun and MONAI's bundles; and medseg's own without a verb."""


def options() -> dict[str, set[str]]:
    program = get_command(app)
    commands = program.commands  # type: ignore[attr-defined]
    before_the_verb = {flag for p in program.params for flag in p.opts}
    return {"": before_the_verb} | {
        name: {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
        | {"--help", "--debug"}
        for name, command in commands.items()
    }


def texts() -> list[tuple[str, str]]:
    """Every literal text of the package but docstrings, with where it stands."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    v.value if isinstance(v, ast.Constant) else "X" for v in node.values
                ]
                found.append((path.name, "".join(map(str, parts))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((path.name, node.value))
    return found


def test_every_option_that_a_message_names_exists():
    known = set().union(*options().values()) | FOREIGN
    unknown = [
        (where, flag)
        for where, text in texts()
        for flag in OPTION.findall(text)
        if flag not in known and not flag.startswith("--max")
    ]
    assert unknown == []


def test_a_verb_that_is_named_has_the_option():
    known, wrong = options(), []
    for where, text in texts():
        for verb, rest in re.findall(r"medseg (\w+)([^`;.\n]*)", text):
            for flag in OPTION.findall(rest):
                if verb in known and flag not in known[verb] | FOREIGN:
                    wrong.append((where, verb, flag))
    assert wrong == []


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_skipping_broken_cases_is_recommended_as_the_verb_has_it(verb):
    assert "--skip-broken" not in options()[verb]
    naming = [t for _, t in texts() if "medseg prepare --skip-broken" in t]
    assert any("prepare.skip_broken: true" in text for text in naming)
