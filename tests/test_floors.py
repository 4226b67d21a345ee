"""Imports point downward only: the picture in docs/architecture.md, walked."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "medseg"

FLOORS = [
    {
        "types",
        "errors",
        "settings",
        "setting_errors",
        "shipped_configs",
        "shipped_models",
        "files",
        "progress",
        "plain_text",
        "telemetry",
        "user_folders",
        "tables",
        "pages",
        "plugins",
        "structure_colors",
        "extras",
    },
    {"geometry", "labels", "device", "folder_lock", "grid_limits"},
    {"interchange"},
    {"volume", "postprocessing", "instances"},
    {"resampling"},
    {"io", "networks", "losses", "augmentation", "placement"},
    {
        *("plan", "golden", "fingerprint", "reading", "nnunet_recipe"),
        *("bundle_recipe", "ancestry", "training_ranges"),
    },
    {"model", "datasets"},
    {"store", "imported"},
    {"preparation"},
    {"plausibility"},
    {"sampling", "inference", "evaluation"},
    {"training"},
    {"tracking", "reporting"},
    {"calibration"},
    {"prediction"},
    {"scoring", "conversion", "monai"},
    {"runs"},
    {"testing"},
    {"studies", "serving"},
    {"notebook"},
    {"console"},
    {"api"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {"torch", "mlflow", "SimpleITK", "matplotlib", "skimage", "monai", "pydicom"}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    own = room_of(path)
    assert own in FLOOR, f"{own} has no floor in docs/architecture.md"
    for name in imports_of(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "medseg" or parts[1] in {own, "__version__"}:
            continue
        ground = own in FLOORS[0] and FLOOR[parts[1]] == 0
        assert ground or FLOOR[parts[1]] < FLOOR[own], f"{own} must not import {name}"


@pytest.mark.parametrize("room", ["training", "inference", "sampling", "losses"])
def test_training_and_inference_do_without_dicom(room: str) -> None:
    for path in (ROOT / room).glob("*.py"):
        tops = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text()))}
        assert not tops & {"SimpleITK", "pydicom", "mlflow", "highdicom"}, path


def test_no_module_imports_itself_by_way_of_others() -> None:
    paths = {
        ".".join(("medseg", *path.relative_to(ROOT).with_suffix("").parts)): path
        for path in modules()
    }
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        found = imports_of(ast.parse(path.read_text()))
        found |= {part.rpartition(".")[0] for part in found}
        graph[name] = (found & paths.keys()) - {name}
    try:
        TopologicalSorter(graph).prepare()
        circle: list[str] = []
    except CycleError as error:
        circle = error.args[1]
    assert circle == []
