"""Runs the Python cells of one page, one after another, as a notebook would.

Each line of standard input is a cell as JSON; its exit code goes, as a line, to the
file descriptor that the first argument numbers.
"""

import json
import linecache
import os
import sys
import traceback


def run_cell(number: int, code: str) -> int:
    """0, or 1 where the cell raised, which is shown."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        exec(compile(code, name, "exec"), sys.modules["__main__"].__dict__)
    except Exception:  # noqa: BLE001 - whatever a page's cell may raise
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Runs cells until there are no more."""
    sys.path.insert(0, "")
    with os.fdopen(int(sys.argv[1]), "w", buffering=1) as answers:
        for number, line in enumerate(sys.stdin, start=1):
            answers.write(f"{run_cell(number, json.loads(line))}\n")


if __name__ == "__main__":
    main()
