"""What is tracked of a run names no folder of the machine that it was trained on."""

from pathlib import Path

import yaml

from medseg.ancestry import Ancestor
from medseg.plan import Plan
from medseg.runs.config import RunConfig
from medseg.runs.parent import ParentRecord
from medseg.runs.tracked_run import log_files


class KeepingLogger:
    """Reads files as a tracking store does: at once."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        self.kept[path.name] = path.read_text()


def test_logs_and_parents_are_kept_without_folders(
    tmp_path: Path, small_plan: Plan
) -> None:
    home = tmp_path / "Anna Smith"
    out, data, model = (home / name for name in ("runs/first", "set one", "old"))
    out.mkdir(parents=True)
    lines = (
        f"INFO begins with {model}: hippocampus",
        f"WARNING {data}/imagesTr/case_07.nii.gz: no scale",
        f"INFO model  {out}/model",
        "WARNING /elsewhere/deep/b.nii: empty",
        "INFO tracked at http://tracking:5000/x",
    )
    (out / "run.log").write_text("\n".join(lines))
    record = ParentRecord(
        model=str(model),
        plan=small_plan,
        ancestors=(Ancestor(name="Hippocampus", weights_sha256="0" * 64),),
    )
    (out / "parent.yaml").write_text(record.to_text())
    config = RunConfig.model_validate(
        {"data": str(data), "training": {"init": {"model": str(model)}}}
    )
    logger = KeepingLogger()
    log_files(out, config, logger)  # type: ignore[arg-type]
    assert logger.kept["run.log"].splitlines() == [
        "INFO begins with old: hippocampus",
        "WARNING imagesTr/case_07.nii.gz: no scale",
        "INFO model  model",
        "WARNING b.nii: empty",
        "INFO tracked at http://tracking:5000/x",
    ]
    kept = yaml.safe_load(logger.kept["parent.yaml"])
    assert kept["model"] == "old"
    assert kept["ancestors"][0]["weights_sha256"] == "0" * 64
    own = yaml.safe_load((out / "parent.yaml").read_text())
    assert own["model"] == str(model)  # which the run goes on from
