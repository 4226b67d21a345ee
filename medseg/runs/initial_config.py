"""`medseg init`: a commented configuration for a data set, to begin a study with.

What it says of the data is measured on some of its cases; the numbers that follow from
all of them are decided when the data is prepared, and stand here as comments.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from medseg.datasets import Dataset, load_dataset
from medseg.errors import OutputError
from medseg.files import write_text
from medseg.fingerprint import Fingerprint
from medseg.plan import Plan
from medseg.preparation.measuring import make_fingerprint
from medseg.preparation.planning import make_plan
from medseg.progress import Progress, Silent
from medseg.reading import start_early
from medseg.runs.config import RunConfig
from medseg.runs.prepare import find_compute
from medseg.settings import parse_settings

MOST_CASES = 8
"""Cases that are looked at, spread over the data set."""
MANY_COMPONENTS = 1.5
"""Components of a structure in a case from which on it is scored lesion by lesion."""
_WIDTH = 86


@dataclass(frozen=True)
class InitialConfig:
    """A configuration to begin with.

    Attributes:
        path: Where it was written.
        text: What it says.
        num_looked_at: Cases that were looked at.
    """

    path: Path
    text: str
    num_looked_at: int


def write_initial_config(
    dataset: Path,
    out: Path | None = None,
    *,
    root: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> InitialConfig:
    """Looks at a data set and writes a commented configuration for it.

    Args:
        dataset: Any layout that `load_dataset` takes.
        out: The YAML file; by default named after the data set, in this folder.
        root: Folder that a manifest's paths start from.
        device: What training will run on.
        overwrite: Replace a file that is there.
        progress: Shows which cases are looked at.

    Raises:
        DatasetError: The data set is not understood, or none of the cases that are
            looked at can be used.
        OutputError: The file is there already, or cannot be written.
    """
    start_early()
    loaded = load_dataset(dataset, root=root, progress=progress or Silent())
    path = out or Path(f"{_file_name(loaded.name)}.yaml")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: is there already; name another file with -o")
    some = loaded.only(_spread(loaded))
    found = make_fingerprint(some, workers=1, progress=progress, skip_broken=True)
    compute, memory = find_compute(device)
    plan = make_plan(found, loaded.scheme, compute=compute, memory_bytes=memory)
    text = _text(loaded, found, plan, dataset_path=dataset, root=root, path=path)
    parse_settings(RunConfig, yaml.safe_load(text), source=str(path))
    write_text(path, text)
    return InitialConfig(path, text, found.num_cases)


def _spread(dataset: Dataset) -> set[str]:
    """Ids of at most `MOST_CASES` cases, first and last among them."""
    ids = [case.case_id for case in dataset.cases]
    places = np.linspace(0, len(ids) - 1, min(len(ids), MOST_CASES)).round()
    return {ids[int(place)] for place in places}


def _file_name(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "_" for c in name.lower())
    return kept.strip("_") or "config"


def _text(
    dataset: Dataset,
    found: Fingerprint,
    plan: Plan,
    *,
    dataset_path: Path,
    root: Path | None,
    path: Path,
) -> str:
    data = [f"data: {_quoted(dataset_path.absolute())}"]
    if root is not None:
        data.append(f"root: {_quoted(root.absolute())}")
    data.append("fold: 0                      # held out; null trains on all cases")
    parts = [
        _head(dataset, found, path),
        "\n".join(data),
        _prepare(dataset, plan),
        _plan(plan),
        _TRAINING,
        _metrics(dataset, found),
    ]
    return "\n\n".join(parts) + "\n"


def _head(dataset: Dataset, found: Fingerprint, path: Path) -> str:
    shape = " x ".join(f"{n:g}" for n in np.median(found.shapes, axis=0))
    spacings = np.median([case.spacing for case in found.cases], axis=0)
    spacing = " x ".join(f"{size:.4g}" for size in spacings)
    lines = [
        dataset.describe(),
        f"Looked at {found.num_cases} of {len(dataset.cases)} cases: {shape} voxels of "
        f"{spacing} mm in the median.",
        *(
            f"Channel {channel.name}: {channel.modality_reason}."
            for channel in found.channels
        ),
        *(
            f"{facts.name}: in {facts.num_cases} of these cases, {facts.fraction:.2%} "
            f"of the voxels, {facts.num_components / max(facts.num_cases, 1):.1f} "
            "components in each."
            for facts in found.classes
        ),
        "",
        f"  medseg train {path} -o runs/first",
        "",
        "What is left out takes its default; a run's config.yaml says all of it.",
    ]
    return "\n".join(_comment(line) for line in lines)


def _prepare(dataset: Dataset, plan: Plan) -> str:
    spacing = [round(size, 4) for size in plan.target_spacing]
    lines = [
        "prepare:                     # only used where the data is not prepared yet",
        _comment(plan.reasons.get("spatial_dims", ""), indent=2),
        f"  spatial_dims: {plan.spatial_dims}            # 3 for patches, 2 for slices",
        _comment(
            f"as it looks now {spacing}: {plan.reasons['target_spacing']}", indent=2
        ),
        "  target_spacing: null       # mm to resample to; null decides from all cases",
    ]
    if dataset.splits:
        lines.append(
            _comment("the folds are those that the data set came with", indent=2)
        )
    else:
        lines.append(
            f"  num_folds: 5               # by patient: {dataset.patient_source}"
        )
    if dataset.scheme.instances:
        lines.append(_comment(plan.reasons["instance_target"], indent=2))
        lines.append(f"  instance_target: {plan.instance_target}")
    return "\n".join(lines)


def _plan(plan: Plan) -> str:
    values = plan.network.model_dump(mode="json", include={"name", "channels"})
    network = yaml.safe_dump(values, default_flow_style=True, width=10_000).strip()
    return "\n".join(
        [
            "plan: {}                     # decided by all cases; as it looks now:",
            f"#   patch_size: {list(plan.patch_size)}",
            f"#   batch_size: {plan.batch_size}",
            f"#   network: {network}",
        ]
    )


_TRAINING = """\
training:
  budget: 15m                # or epochs: 200, or steps: 5000
  loss: {name: dice_ce}      # dice_focal, tversky, ...: see docs/losses.md
  sampling:
    strategy: foreground     # uniform, class_balanced, lesion_balanced, ...
  augmentation: null         # null takes what suits the patch and the labels
  seed: 0

inference:
  flips: null                # true: test-time flips, slower"""


def _metrics(dataset: Dataset, found: Fingerprint) -> str:
    many = [
        facts.name
        for facts in found.classes
        if facts.num_components > MANY_COMPONENTS * max(facts.num_cases, 1)
    ]
    lines = ["metrics:", "  tolerance_mm: 1.0          # of the surface Dice (NSD)"]
    if many and not dataset.scheme.instances:
        lines.append(_comment("these have several components in a case", indent=2))
        lines.append(
            f"  lesions: {yaml.safe_dump(many, default_flow_style=True).strip()}"
        )
    return "\n".join(lines)


def _comment(text: str, *, indent: int = 0) -> str:
    """Lines of a comment, no longer than a page is wide."""
    start = f"{' ' * indent}# "
    if not text.strip():
        return "#"
    if text.startswith("  "):
        return f"{start}{text}"
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _quoted(path: Path) -> str:
    return yaml.safe_dump(str(path), width=10_000).splitlines()[0]
