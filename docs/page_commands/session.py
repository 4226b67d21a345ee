"""The steps of one page, run one after another in its folder."""

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from page_commands.environment import HERE, Environment
from page_commands.stand_ins import needs_checkout, needs_network
from page_commands.steps import FILE, PYTHON, Step

SECONDS = 3600
"""After which a step counts as failed, and its program is ended."""
TIMED_OUT, ENDED = 124, 1
"""Exit codes of steps whose program was ended, or ended by itself."""


@dataclass
class Worker:
    """A program that runs one line after another, and answers with exit codes.

    Attributes:
        process: Reads lines from standard input.
        answers: Where its exit codes come, one a line.
    """

    process: "subprocess.Popen[str]"
    answers: int

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Environment,
        folder: Path,
        output: Path,
    ) -> "Worker":
        """Starts a program without network.

        Args:
            command: The program, which takes the number of the answers' file
                descriptor as its last argument.
            environment: Where it runs.
            folder: Where it begins.
            output: A file that takes what it prints.
        """
        answers, theirs = os.pipe()
        with output.open("ab") as stream:
            process = subprocess.Popen(
                environment.closed([*command, str(theirs)]),
                cwd=folder,
                env=environment.variables(network=False),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs],
                text=True,
            )
        os.close(theirs)
        return cls(process, answers)

    def run(self, line: str) -> int:
        """The exit code of one line."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return ENDED
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([self.answers], [], [], SECONDS)[0]:
                self.process.kill()
                return TIMED_OUT
            part = os.read(self.answers, 1)
            if not part:
                return ENDED
            answer += part
        return int(answer)

    def close(self) -> None:
        """Ends the program."""
        self.process.communicate()
        os.close(self.answers)


@dataclass
class Session:
    """Runs steps; used as a context, which ends the programs that run them.

    Attributes:
        environment: Where commands are run.
        folder: The page's.
        output: A file that takes what commands print.
    """

    environment: Environment
    folder: Path
    output: Path
    _workers: dict[str, Worker] = field(default_factory=dict, init=False)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.close()

    def run(self, step: Step, text: str) -> tuple[int, float]:
        """Exit code and seconds of a step, of which the given text is run."""
        with self.output.open("a", encoding="utf-8") as output:
            output.write(f"\n$ {text}\n")
        start = time.perf_counter()
        if step.kind == FILE:
            name, _, body = text.partition("\n")
            (self.folder / name).write_text(f"{body}\n", encoding="utf-8")
            code = 0
        elif step.kind == PYTHON:
            code = self._worker("cells.py", "python").run(json.dumps(text))
        elif needs_network(step):
            code = self._with_network(step, text)
        else:
            script = self.output.with_suffix(".sh")
            script.write_text(f"{text}\n", encoding="utf-8")
            code = self._worker("commands.sh", "bash").run(str(script))
        return code, time.perf_counter() - start

    def _with_network(self, step: Step, text: str) -> int:
        checkout = needs_checkout(step)
        with self.output.open("ab") as output:
            return subprocess.run(
                ["bash", "-c", text],
                cwd=self.environment.checkout if checkout else self.folder,
                env=self.environment.variables(network=True),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode

    def _worker(self, file: str, program: str) -> Worker:
        if file not in self._workers:
            self._workers[file] = Worker.start(
                [program, str(HERE / file)],
                environment=self.environment,
                folder=self.folder,
                output=self.output,
            )
        return self._workers[file]
