"""An empty virtual environment, a checkout, its wheel, and folders to work in."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WHEEL_LINE = "pip wheel --no-deps -w dist ."
PASSED_ON = ("OMP_NUM_THREADS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Variables of the caller that commands see; those of pip only where it is asked."""
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
CLOSED = ["unshare", "--map-root-user", "--net", "sh", "-c"]
CLOSED += ['ip link set lo up && exec "$@"', "sh"]
"""What stands before a command that has this machine's own network and no other."""


@dataclass(frozen=True)
class Environment:
    """Where commands are run.

    Attributes:
        folder: Below it lies everything: the environment in `env`, a home folder, the
            checkout, and a folder for each page.
    """

    folder: Path

    @property
    def checkout(self) -> Path:
        """A copy of what git knows of this checkout."""
        return self.folder / "checkout"

    @cached_property
    def closes_network(self) -> bool:
        """Whether commands can be kept from the network here."""
        if shutil.which("unshare") is None:
            return False
        return subprocess.run([*CLOSED, "true"], check=False).returncode == 0

    def make(self) -> None:
        """Makes the empty environment and the wheel, as the install page says."""
        subprocess.run([sys.executable, "-m", "venv", self.folder / "env"], check=True)
        (self.folder / "home").mkdir()
        shim = self.folder / "env" / "bin" / "until_it_answers"
        shim.write_text(f'#!/bin/sh\nexec python "{HERE}/until_it_answers.py" "$@"\n')
        shim.chmod(0o755)
        self._copy_checkout()
        self.run_in_checkout(WHEEL_LINE)

    def renew(self) -> None:
        """Puts the wheel of the code as it is now into an environment that is there."""
        shutil.rmtree(self.checkout)
        self._copy_checkout()
        self.run_in_checkout(WHEEL_LINE)
        self.run_in_checkout("pip install --force-reinstall --no-deps dist/*.whl")

    def run_in_checkout(self, command: str) -> None:
        """Runs one of pip's commands, with a network."""
        subprocess.run(
            ["bash", "-c", command],
            cwd=self.checkout,
            env=self.variables(network=True),
            check=True,
        )

    def make_folder(self, page: str) -> Path:
        """An empty folder for a page, but for the wheel that the install page names."""
        folder = self.folder / page.removesuffix(".md").replace("/", "_")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if page.endswith("install.md"):
            for path in (*self.checkout.glob("dist/*.whl"), ROOT / "constraints.txt"):
                shutil.copy(path, folder)
        return folder

    def variables(self, *, network: bool) -> dict[str, str]:
        """Environment variables of a command."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if network:
            of_pip = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
            constraints = str(ROOT / "constraints.txt")
            kept |= of_pip | {"PIP_CONSTRAINT": constraints}
        return kept | {
            "PATH": f"{self.folder / 'env' / 'bin'}:{SYSTEM_PATH}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "COLUMNS": "100",
            "VIRTUAL_ENV": str(self.folder / "env"),
        }

    def closed(self, command: list[str]) -> list[str]:
        """The command without network, where that can be."""
        return [*CLOSED, *command] if self.closes_network else command

    def _copy_checkout(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                target = self.checkout / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
