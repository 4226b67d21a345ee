"""Which engine is chosen, with engines and a clock of the test's own."""

import json
from pathlib import Path

import pytest
import torch

from medseg.errors import ModelError, OutputError, PredictionError, SettingsError
from medseg.inference.engines import available
from medseg.inference.engines import benchmark_cache as results
from medseg.inference.engines import selection as choice
from medseg.inference.engines.benchmark_cache import (
    BenchmarkResult,
    EngineBenchmarkCache,
)
from medseg.inference.engines.engine import Engine, Variant
from medseg.inference.engines.selection import choose_engine
from medseg.inference.settings import InferenceSettings
from medseg.labels import LabelScheme
from medseg.model import Model, Provenance, load_model, save_model
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan
from medseg.user_folders import user_folder

CPU = torch.device("cpu")
TORCH = Variant("torch", "float32")
SHORT = Variant("torch", "bfloat16")
ONNX = Variant("onnx", "float32")
OPENVINO = Variant("openvino", "float32")
PLAN = Plan(
    name="tiny",
    spatial_dims=3,
    target_spacing=(1, 1, 1),
    channels=(ChannelPlan(name="T1"),),
    labels=LabelScheme(names={"organ": 1}),
    patch_size=(8, 8, 8),
    batch_size=1,
    network=UNetSettings(channels=(4, 8), strides=(1, 2), normalization="batch"),
)


class Spy:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


class Workshop:
    """Engines that take as long, and err as much, as the test says."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.now = 0.0
        self.seconds = {TORCH: 4.0, SHORT: 3.0, ONNX: 2.0, OPENVINO: 1.0}
        self.error: dict[Variant, float] = {}
        self.broken: set[Variant] = set()
        self.made: list[Variant] = []

    def clock(self) -> float:
        return self.now

    def make(self, variant: Variant, network: torch.nn.Module, **_: object):
        self.made.append(variant)
        if variant in self.broken:
            raise RuntimeError("no such operator")

        def run(image: torch.Tensor) -> torch.Tensor:
            self.now += self.seconds[variant]
            with torch.no_grad():
                logits = self.model.network(image)
            spread = logits.max() - logits.min()
            return logits + self.error.get(variant, 0.0) * spread

        return Engine(variant, run)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = build_network(
        PLAN.network, spatial_dims=3, in_channels=1, out_channels=2
    ).eval()
    save_model(tmp_path / "model", network, PLAN, Provenance())
    return tmp_path / "model"


@pytest.fixture
def workshop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shop = Workshop(load_model(folder))
    monkeypatch.setattr(choice, "make_engine", shop.make)
    monkeypatch.setattr(
        choice, "candidates", lambda *_, **__: (TORCH, SHORT, ONNX, OPENVINO)
    )
    return shop


def choose(shop: Workshop, folder: Path, spy: Spy | None = None) -> Engine:
    book = EngineBenchmarkCache(
        folder, model=shop.model.weights_sha256, device=CPU, window=PLAN.patch_size
    )
    return choose_engine(
        shop.model,
        book,
        device=CPU,
        window=PLAN.patch_size,
        settings=InferenceSettings(),
        progress=spy or Spy(),  # type: ignore[arg-type]
        clock=shop.clock,
    )


def test_the_fastest_is_chosen_and_said(workshop: Workshop, folder: Path) -> None:
    spy = Spy()
    assert choose(workshop, folder, spy).variant == OPENVINO
    assert spy.said[-1] == (
        "engine openvino float32: 1 s per window of 8 x 8 x 8 voxels "
        "(torch float32 4 s, torch bfloat16 3 s, onnx float32 2 s)"
    )


def test_what_was_measured_is_not_measured_again(
    workshop: Workshop, folder: Path
) -> None:
    choose(workshop, folder)
    workshop.made.clear()
    before, spy = workshop.now, Spy()
    assert choose(workshop, folder, spy).variant == OPENVINO
    assert workshop.made == [OPENVINO]
    assert workshop.now == before
    assert spy.said == []


def test_an_engine_that_errs_is_not_used_and_that_is_said(
    workshop: Workshop, folder: Path
) -> None:
    workshop.error[OPENVINO] = 0.1
    spy = Spy()
    assert choose(workshop, folder, spy).variant == ONNX
    assert (
        "engine openvino float32 is not used: logits differ by up to 10"
        in (spy.warned[0])
    )
    assert choose(workshop, folder).variant == ONNX


def test_an_engine_that_cannot_run_is_not_used(
    workshop: Workshop, folder: Path
) -> None:
    workshop.broken = {OPENVINO, ONNX}
    spy = Spy()
    assert choose(workshop, folder, spy).variant == SHORT
    assert spy.warned[0].endswith("RuntimeError: no such operator")


def test_short_formats_may_differ_more(workshop: Workshop, folder: Path) -> None:
    workshop.seconds[SHORT] = 0.5
    workshop.error = {SHORT: 0.01, OPENVINO: 0.01}
    assert choose(workshop, folder).variant == SHORT


def test_a_hopeless_engine_is_timed_once(workshop: Workshop, folder: Path) -> None:
    workshop.seconds[OPENVINO] = 100.0
    choose(workshop, folder)
    # golden image, warming up, one time
    assert workshop.now == pytest.approx((4 + 3 + 2) * 5 + 100 * 3)


def test_a_read_only_model_folder_is_no_error(
    workshop: Workshop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = results.write_text

    def write(path: Path, text: str) -> None:
        if path.parent == user_folder("cache"):
            raise OutputError(f"{path}: cannot be written: read-only")
        original(path, text)

    monkeypatch.setattr(results, "write_text", write)
    choose(workshop, folder)
    assert (folder / "engines.json").exists()
    workshop.made.clear()
    assert choose(workshop, folder).variant == OPENVINO
    assert workshop.made == [OPENVINO]


def test_nowhere_to_write_means_measuring_again(
    workshop: Workshop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, text: str) -> None:
        raise OutputError(f"{path}: cannot be written: read-only")

    monkeypatch.setattr(results, "write_text", write)
    assert choose(workshop, folder).variant == OPENVINO
    assert choose(workshop, folder).variant == OPENVINO
    assert workshop.made.count(OPENVINO) == 2


def test_another_version_or_window_measures_again(
    workshop: Workshop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(workshop, folder)
    known = {"model": workshop.model.weights_sha256, "device": CPU}
    assert EngineBenchmarkCache(folder, window=(8, 8, 8), **known).results
    assert not EngineBenchmarkCache(folder, window=(16, 8, 8), **known).results
    monkeypatch.setattr(results, "versions", lambda: {"openvino": "9999"})
    assert not EngineBenchmarkCache(folder, window=(8, 8, 8), **known).results


def test_a_damaged_book_is_empty(folder: Path) -> None:
    cached = user_folder("cache") / "engines_abc.json"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text("{not json")
    (folder / "engines.json").write_text("{not json")
    book = EngineBenchmarkCache(folder, model="abc", device=CPU, window=(8, 8, 8))
    assert book.results == []
    book.put(BenchmarkResult(engine="torch", precision="float32"))
    book.write()
    assert len(json.loads(cached.read_text())) == 1


def test_no_hosts_name_is_kept(workshop: Workshop, folder: Path) -> None:
    import platform

    choose(workshop, folder)
    (record,) = user_folder("cache").glob("engines_*.json")
    assert platform.node() not in record.read_text()


def test_nothing_usable_is_an_error_that_says_what_is(
    workshop: Workshop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "candidates", lambda *_, **__: (ONNX,))
    workshop.error[ONNX] = 1.0
    with pytest.raises(PredictionError, match="--engine torch --precision float32"):
        choose(workshop, folder)


def test_other_logits_than_those_kept_are_an_error(
    workshop: Workshop, folder: Path
) -> None:
    with torch.no_grad():
        for parameter in workshop.model.network.parameters():
            parameter.mul_(1.5)
    with pytest.raises(
        ModelError, match=r"differ by .* from those kept with the model"
    ):
        choose(workshop, folder)


def test_a_model_without_kept_logits_is_compared_with_torch(
    workshop: Workshop, folder: Path
) -> None:
    (folder / "golden.safetensors").unlink()
    workshop.model = load_model(folder)
    assert workshop.model.golden is None
    assert choose(workshop, folder).variant == OPENVINO


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("onnx", "bfloat16", "computes in float32, not bfloat16"),
        ("openvino", "float16", "computes in float32 or bfloat16"),
        ("torch-compile", "auto", "a CUDA device only"),
    ],
)
def test_what_cannot_be_had_is_said(
    engine: str, precision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "_is_installed", lambda _: True)
    settings = InferenceSettings.model_validate(
        {"engine": engine, "precision": precision}
    )
    with pytest.raises(SettingsError, match=message):
        available.candidates(settings, device=CPU)


def test_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r'pip install .*"openvino>='):
        available.candidates(InferenceSettings(engine="openvino"), device=CPU)
    auto = available.candidates(InferenceSettings(precision="float32"), device=CPU)
    assert auto == (TORCH,)
