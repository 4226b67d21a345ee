"""What README and the site tell a newcomer to type was run, from a fresh wheel.

Where this fails after a change of a page: `make commands PAGES=that/page.md` runs its
commands anew and writes the log.
"""

import re
from pathlib import Path

import pytest
from page_commands.log import PAGE, Entry, Log
from page_commands.stand_ins import Rule, Rules
from page_commands.steps import FILE, PYTHON, SHELL, Step, commands, read_steps

ROOT = Path(__file__).parents[2]
RULES = Rules.read()
LOG = Log.read()
STEPS = {page: read_steps(ROOT / page, name=page) for page in RULES.pages}


@pytest.mark.parametrize("page", RULES.pages)
def test_each_command_of_a_page_was_run_or_left_out_for_a_reason(page):
    entries = [entry for entry in LOG.entries if entry.page == page]
    if page in RULES.not_run:
        assert RULES.not_run[page]
        assert not entries, f"{page} was run: take it out of not_run"
        return
    assert [entry.step for entry in entries] == STEPS[page]
    for entry in entries:
        assert entry.is_good, f"{page}: {entry.step.title}: exit code {entry.code}"
        left_out = RULES.why_left_out(entry.step)
        assert (entry.code is None) == (left_out is not None)
        if left_out is None:
            text, _ = RULES.as_run(entry.step)
            assert entry.run_as == (text if text != entry.text else "")


def test_first_pages_and_all_tutorials_are_among_the_pages():
    tutorials = (ROOT / "docs" / "tutorials").glob("*.md")
    names = {f"docs/tutorials/{path.name}" for path in tutorials} - {
        "docs/tutorials/index.md"
    }
    assert names <= set(RULES.pages)
    assert {"README.md", "docs/start/install.md"} <= set(RULES.pages)


def test_no_rule_is_left_over():
    steps = [step for page in STEPS.values() for step in page]
    for rule in (*RULES.left_out, *RULES.stand_ins):
        assert any(rule.meets(step) for step in steps), rule.find


def test_the_page_of_the_log_says_what_the_log_says():
    assert PAGE.read_text(encoding="utf-8") == LOG.as_page(RULES.not_run)


def test_the_log_names_no_folder_and_no_host_of_the_machine_that_wrote_it():
    said = [*LOG.machines.values(), *(entry.run_as for entry in LOG.entries)]
    for text in said:
        assert not re.search(r"/(root|home|tmp|opt|work|usr)\b", text), text
    hosts = re.findall(r"https?://([^/\s:'\"]+)", "\n".join(said))
    assert set(hosts) <= {"127.0.0.1"}


def test_commands_end_where_bash_says_so():
    text = (
        "# a remark\n"
        "medseg doctor A   # and what follows\n\n"
        "cat > a.yaml <<'YAML'\n# kept\nkey: 1\n\nYAML\n"
        "python -c \"\nprint('#')\n\"\n"
        "medseg train A \\\n  -o B\n"
        "for i in 1 2; do\n  echo $i\ndone\n"
    )
    assert commands(text) == [
        "medseg doctor A   # and what follows",
        "cat > a.yaml <<'YAML'\n# kept\nkey: 1\n\nYAML",
        "python -c \"\nprint('#')\n\"",
        "medseg train A \\\n  -o B",
        "for i in 1 2; do\n  echo $i\ndone",
    ]


def test_an_unfinished_command_is_told():
    with pytest.raises(ValueError, match="no whole shell command: cat <<'A' b"):
        commands("cat <<'A'\nb")


def test_steps_of_every_kind_are_read_in_order(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Type `pip install x`, never `ls`.\n"
        "```\nls\n```\n"
        "```yaml\nkey: 1\n```\n"
        "```python\nimport medseg\n```\n"
        "```{code-cell} ipython3\n:tags: [hide-input]\nx = 1\ny = 2\n```\n"
        "```{code-cell} ipython3\n%%bash\nls\nls -l\n```\n"
        "```{code-cell} ipython3\n%%writefile own.py\nz = 3\n```\n"
        "````bash\necho '```'\n````\n"
    )
    assert [(step.kind, step.text) for step in read_steps(page, name="page.md")] == [
        (SHELL, "pip install x"),
        (SHELL, "ls"),
        (PYTHON, "import medseg"),
        (PYTHON, "x = 1\ny = 2"),
        (SHELL, "ls"),
        (SHELL, "ls -l"),
        (FILE, "own.py\nz = 3"),
        (SHELL, "echo '```'"),
    ]


def test_rules_hold_for_their_pages_alone():
    rules = Rules(
        pages=(),
        not_run={},
        prepared={},
        left_out=(Rule("^docker ", "no daemon", pages="a.md"),),
        stand_ins=(Rule("15m", "short", put="9s"), Rule("-o runs", "", "b.md", "-o r")),
    )
    assert rules.why_left_out(Step("a.md", SHELL, "docker run")) == "no daemon"
    assert rules.why_left_out(Step("b.md", SHELL, "docker run")) is None
    assert rules.as_run(Step("a.md", SHELL, "x 15m -o runs")) == (
        "x 9s -o runs",
        "short",
    )
    assert rules.as_run(Step("a.md", SHELL, "x -o runs")) == ("x -o runs", "")


def test_a_log_is_read_as_it_was_written(tmp_path):
    entries = [
        Entry("a.md", SHELL, "medseg doctor A|B", code=1, seconds=2.5),
        Entry("a.md", SHELL, "docker run", why="no daemon"),
        Entry("b.md", PYTHON, "x = 1\ny = 2", "x = 3", "because", 0, 0.1),
    ]
    log = Log({"a.md": "A machine.", "b.md": "Another."}, entries)
    log.write(tmp_path / "log.jsonl", tmp_path / "page.md", not_run={"c.md": "late"})
    assert Log.read(tmp_path / "log.jsonl") == log
    page = (tmp_path / "page.md").read_text()
    assert "| `` medseg doctor A\\|B `` | 1 | 2.5 |" in page
    assert "left out: no daemon" in page
    assert "c.md was not run: late." in page
    again = log.with_page("a.md", "New.", entries[:1]).ordered(["b.md", "a.md"])
    assert [entry.page for entry in again.entries] == ["b.md", "a.md"]
    assert again.machines == {"b.md": "Another.", "a.md": "New."}


@pytest.mark.parametrize(
    ("text", "code", "good"),
    [
        ("medseg doctor A", 1, True),
        ("medseg doctor A", 2, False),
        ("medseg train A", 1, False),
        ("medseg train A", 0, True),
        ("medseg train A", None, False),
    ],
)
def test_exit_codes_that_count_as_done(text, code, good):
    assert Entry("a.md", SHELL, text, code=code).is_good is good
