"""The engine that a model runs on: checked, measured, remembered."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from medseg.errors import ModelError, PredictionError
from medseg.golden import golden_image, golden_logits, golden_size, kept_voxels
from medseg.inference.engines.agreement import TOLERANCES, agreement
from medseg.inference.engines.available import candidates, make_engine
from medseg.inference.engines.benchmark_cache import (
    BenchmarkResult,
    EngineBenchmarkCache,
)
from medseg.inference.engines.engine import REFERENCE, Engine, Variant
from medseg.inference.settings import InferenceSettings
from medseg.model import Model
from medseg.networks.network import SegmentationNetwork
from medseg.progress import Progress

Clock = Callable[[], float]

REPEATS = 3
"""Windows that are timed, after one that warms up."""
HOPELESS = 2.0
"""An engine this many times slower than the best is timed only once."""


def choose_engine(
    model: Model,
    book: EngineBenchmarkCache,
    *,
    device: torch.device,
    window: Sequence[int],
    settings: InferenceSettings,
    progress: Progress,
    clock: Clock = time.perf_counter,
) -> Engine:
    """The fastest engine that the settings allow and that agrees with torch.

    What is not known about an engine on this machine is found out first, and kept:
    whether it agrees with torch in float32 on the golden image, and, where there is a
    choice, how long a window takes. An engine that does not agree, or cannot run the
    network, is left out, and that is said.

    Args:
        model: The trained network.
        book: What is known.
        device: Where it runs.
        window: Voxels of a window.
        settings: Engine, format and batch size.
        progress: Is told what was found.
        clock: Seconds; tests bring their own.

    Raises:
        SettingsError: What was asked for cannot be had here.
        PredictionError: The only engine that was allowed does not agree or run.
        ModelError: Not even torch gives what it gave where the model was saved.
    """
    allowed = candidates(settings, device=device)
    results = EngineBenchmarks(
        model, book, device, tuple(window), settings.least_batch_size, clock
    )
    new = results.complete(allowed, progress=progress)
    usable = [variant for variant in allowed if not results.of(variant).doubt]
    if not usable:
        reasons = "; ".join(f"{v}: {results.of(v).doubt}" for v in allowed)
        raise PredictionError(
            f"no engine can be used: {reasons}; --engine torch --precision float32 "
            "always can"
        )
    best = min(usable, key=lambda variant: results.of(variant).seconds or 0.0)
    if new and len(allowed) > 1:
        progress.say(_in_words(best, usable, results, window))
    return results.engine(best)


@dataclass
class EngineBenchmarks:
    """Finds out what is not known yet about engines; keeps those it has made."""

    model: Model
    book: EngineBenchmarkCache
    device: torch.device
    window: tuple[int, ...]
    batch_size: int
    clock: Clock

    def __post_init__(self) -> None:
        """Starts with no engine made."""
        self._engines: dict[Variant, Engine] = {}

    def of(self, variant: Variant) -> BenchmarkResult:
        """What is known about an engine."""
        result = self.book.find(variant)
        assert result is not None  # completed before
        return result

    def engine(self, variant: Variant) -> Engine:
        """The engine, made once."""
        if variant not in self._engines:
            network = self.model.network
            assert isinstance(network, SegmentationNetwork)
            self._engines[variant] = make_engine(variant, network, device=self.device)
        return self._engines[variant]

    def complete(self, allowed: Sequence[Variant], *, progress: Progress) -> bool:
        """Tries what was not tried before; whether there was anything."""
        is_choice = len(allowed) > 1
        missing = [v for v in allowed if not self._is_known(v, timed=is_choice)]
        if missing and is_choice:
            names = ", ".join(map(str, allowed))
            progress.say(f"measuring engines, once on this machine: {names}")
        for variant in missing:
            result = self._try(variant, timed=is_choice)
            self.book.put(result)
            if result.doubt:
                progress.warn(f"engine {variant} is not used: {result.doubt}")
        if missing:
            self.book.write()
        return bool(missing)

    def _is_known(self, variant: Variant, *, timed: bool) -> bool:
        result = self.book.find(variant)
        if result is None:
            return False
        return bool(result.doubt) or not timed or result.seconds is not None

    def _try(self, variant: Variant, *, timed: bool) -> BenchmarkResult:
        about = {"engine": variant.name, "precision": variant.precision}
        try:
            engine = self.engine(variant)
            found = agreement(
                engine,
                self._golden.to(self.device),
                self._expected,
                overlapping=bool(self.model.plan.targets.regions),
            )
            seconds = self._time(engine) if timed and not found.doubt else None
        except ModelError:
            raise
        except Exception as error:
            self._engines.pop(variant, None)
            if variant == REFERENCE:
                raise
            reason = " ".join(str(error).split())[:200]
            return BenchmarkResult(**about, doubt=f"{type(error).__name__}: {reason}")
        return BenchmarkResult(
            **about,
            seconds=seconds,
            difference=min(found.difference, 1e9),
            changed=found.changed,
            doubt=found.doubt,
        )

    @cached_property
    def _golden(self) -> Tensor:
        size = golden_size(self.model.plan.patch_size)
        return golden_image(self.model.input_ranges, size)

    @cached_property
    def _expected(self) -> Tensor:
        """Logits of torch in float32 here; they must be those kept with the model."""
        expected = golden_logits(self.model.network, self._golden)
        check_golden(self.model, expected)
        return expected

    def _time(self, engine: Engine) -> float:
        """Seconds of a window: the median, or one time where it is hopeless."""
        ranges = self.model.input_ranges
        windows = golden_image(ranges, self.window, count=self.batch_size)
        windows = windows.to(self.device)
        known = [t.seconds for t in self.book.results if t.seconds and not t.doubt]
        limit = HOPELESS * min(known, default=math.inf)
        engine(windows)
        times: list[float] = []
        for _ in range(REPEATS):
            times.append(self._once(engine, windows))
            if times[0] > limit:
                break
        return statistics.median(times) / self.batch_size

    def _once(self, engine: Engine, windows: Tensor) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = self.clock()
        engine(windows)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock() - start


def check_golden(model: Model, logits: Tensor) -> None:
    """Compares logits with those kept when the model was saved.

    Raises:
        ModelError: They are not the same up to rounding: the libraries or the
            processor here do not compute the network that was validated.
    """
    if model.golden is None:
        return
    found = kept_voxels(logits)
    spread = float(model.golden.max() - model.golden.min()) or 1.0
    same = found.shape == model.golden.shape
    difference = float((found - model.golden).abs().max()) / spread if same else 1.0
    if difference > TOLERANCES["float32"].difference:
        raise ModelError(
            f"model {model.identity}: on this machine torch computes logits that "
            f"differ by {difference:.2%} of their range from those kept with the "
            "model; install the versions it was trained with (card.md), or report it"
        )


def _in_words(
    best: Variant,
    usable: Sequence[Variant],
    results: EngineBenchmarks,
    window: Sequence[int],
) -> str:
    def seconds(variant: Variant) -> str:
        return f"{results.of(variant).seconds or 0.0:.3g} s"

    others = ", ".join(f"{v} {seconds(v)}" for v in usable if v != best)
    return (
        f"engine {best}: {seconds(best)} per window of "
        f"{' x '.join(map(str, window))} voxels" + (f" ({others})" if others else "")
    )
