"""Several processes that open the same new SQLite file at once."""

import subprocess
import sys
from pathlib import Path

from medseg.tracking.address import default_tracking_uri

PROGRAM = """
import sys
from medseg.tracking.store import connect
print([e.name for e in connect(sys.argv[1]).search_experiments()])
"""


def test_processes_that_begin_at_once_share_a_new_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, default_tracking_uri(tmp_path)]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        assert out.strip() == "[]"
