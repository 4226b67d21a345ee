"""Engine benchmarks of a machine; kept in the model folder or the user's cache."""

import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import ValidationError

from medseg.errors import OutputError
from medseg.files import hash_text, write_text
from medseg.inference.engines.available import versions
from medseg.inference.engines.engine import Variant
from medseg.settings import Record
from medseg.user_folders import user_folder

FILE = "engines.json"


class BenchmarkResult(Record):
    """How one engine did."""

    engine: str
    precision: str
    seconds: float | None = None
    """For a window; None where it was not measured."""
    difference: float = 0.0
    """Largest difference of a logit, as a share of the range."""
    changed: float = 0.0
    """Share of voxels whose label is another."""
    doubt: str = ""
    """Why it is not used; empty where it may be."""

    def is_of(self, variant: Variant) -> bool:
        """Whether the result belongs to an engine variant."""
        return (self.engine, self.precision) == (variant.name, variant.precision)


class EngineBenchmarkCache:
    """Benchmarks of one model on one machine, for one window and one set of versions.

    Args:
        folder: The model folder.
        model: SHA-256 of the weights.
        device: Where the network runs.
        window: Voxels of a window.
        batch_size: Windows per call.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        device: torch.device,
        window: Sequence[int],
        batch_size: int = 1,
    ) -> None:
        self._about = {
            "machine": machine(device),
            "window": "x".join(map(str, window)),
            "batch_size": batch_size,
            "model": model,
            **versions(),
        }
        self._key = hash_text(json.dumps(self._about, sort_keys=True))[:16]
        self._places = [
            user_folder("cache") / f"engines_{model[:12]}.json",
            folder / FILE,
        ]
        self.results: list[BenchmarkResult] = self._read()

    def find(self, variant: Variant) -> BenchmarkResult | None:
        """What is known about an engine."""
        return next((result for result in self.results if result.is_of(variant)), None)

    def put(self, result: BenchmarkResult) -> None:
        """Adds a result, or replaces an older one."""
        same = (result.engine, result.precision)
        self.results = [t for t in self.results if (t.engine, t.precision) != same]
        self.results.append(result)

    def write(self) -> None:
        """Writes the results where possible; a read-only folder is no error."""
        entry = {**self._about, "trials": [t.model_dump() for t in self.results]}
        for place in self._places:
            with suppress(OutputError):
                content = {**_content(place), self._key: entry}
                write_text(place, json.dumps(content, indent=2) + "\n")
                return

    def _read(self) -> list[BenchmarkResult]:
        for place in self._places:
            entry = _content(place).get(self._key)
            if isinstance(entry, dict):
                with suppress(ValidationError, TypeError):
                    return [
                        BenchmarkResult.model_validate(t)
                        for t in entry.get("trials", [])
                    ]
        return []


def machine(device: torch.device) -> str:
    """The processor in words, with the threads that torch uses; no host's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _content(place: Path) -> dict[str, object]:
    """What a file holds; nothing where it cannot be used."""
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
