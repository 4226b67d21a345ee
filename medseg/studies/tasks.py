"""A study in parts, each for a machine of its own: prepare, every run, compare."""

import shlex
import sys
from pathlib import Path

from medseg.errors import SettingsError
from medseg.files import write_text
from medseg.progress import Progress
from medseg.shipped_configs import find_config
from medseg.studies.compare import compare, open_parent, open_study
from medseg.studies.data import prepare_study
from medseg.studies.study import StudyChanges
from medseg.studies.study_run import train_run

SPARE = 1.5
"""Time that a job may take, as a multiple of its training budget, and an hour."""


def run_task(
    task: str,
    study_path: Path,
    out: Path,
    *,
    data: Path | None,
    root: Path | None,
    changes: StudyChanges | None = None,
    device: str,
    progress: Progress,
) -> None:
    """Does one part of a study; what is done already is left alone.

    Args:
        task: ``prepare``, the number of a run from 0, or ``compare``.
        study_path: YAML file of the study.
        out: The study's folder, which all machines see.
        data: Data set or prepared store; goes before the study's own.
        root: Folder that a manifest's paths start from.
        changes: Budget, folds and seeds in place of the study's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        SettingsError: The study is wrong, or has no such part.
        MedsegError: Data or folder cannot be used, or training failed.
        KeyboardInterrupt: A signal ended the run; the same call continues.
    """
    study, runs = open_study(study_path, data=data, root=root, changes=changes)
    if task == "compare":
        result = compare(
            study_path,
            out,
            data=data,
            root=root,
            changes=changes,
            trained=True,
            progress=progress,
        )
        progress.say(result.text)
    elif task == "prepare":
        open_parent(study, runs[0], out, progress).finish("KILLED")  # goes on later
        prepare_study(runs, out, device=device, progress=progress)
    elif task.isdecimal() and int(task) < len(runs):
        train_run(runs[int(task)], out, device=device, progress=progress)
    else:
        raise SettingsError(
            f"--task {task}: expected prepare, compare or the number of a run from 0 "
            f"to {len(runs) - 1}"
        )


def write_slurm_script(
    path: Path,
    study_path: Path,
    out: Path,
    *,
    data: Path | None,
    root: Path | None,
    changes: StudyChanges | None = None,
    device: str,
) -> None:
    """Writes a script that submits a study to SLURM: an array of runs, then the rest.

    Args:
        path: The script.
        study_path: YAML file of the study.
        out: The study's folder, which all machines must see.
        data: Data set or prepared store; goes before the study's own.
        root: Folder that a manifest's paths start from.
        changes: Budget, folds and seeds in place of the study's own.
        device: What the runs train on.

    Raises:
        SettingsError: The study is wrong.
        OutputError: The script cannot be written.
    """
    study, runs = open_study(study_path, data=data, root=root, changes=changes)
    options = ["--device", device]
    for name, value in (("--data", data), ("--root", root)):
        options += [] if value is None else [name, str(value.resolve())]
    options += changes.options if changes is not None else []
    budgets = [run.config.training.budget for run in runs]
    seconds = max((SPARE * b + 3600 for b in budgets if b is not None), default=86400)
    gpu = "" if device == "cpu" else "--gres=gpu:1 "
    text = SCRIPT.format(
        study=_quoted(find_config(study_path).resolve()),
        out=_quoted(out.resolve()),
        options=" ".join(map(_quoted, options)),
        python=_quoted(sys.executable),
        gpu=gpu,
        minutes=int(seconds // 60) + 1,
        last=len(runs) - 1,
        name=study.name.replace(" ", "_"),
    )
    write_text(path, text)
    path.chmod(0o755)


def _quoted(value: object) -> str:
    """For a shell; always in quotes, so that an edited value may hold spaces."""
    text = shlex.quote(str(value))
    return text if text.startswith("'") else f"'{text}'"


SCRIPT = """\
#!/usr/bin/env bash
# A study of medseg on SLURM: data, an array with a job for each run, the comparison.
#
#   bash THIS_SCRIPT             submits all of it
#   sbatch --array=3 ... THIS_SCRIPT run     one run again
#
# Submitted again, finished runs are left alone and begun ones continued.
set -euo pipefail

STUDY={study}
OUT={out}
OPTIONS=({options})
MEDSEG=({python} -m medseg)
# Of each run; look at them before submitting. A minute before the end of its time a
# run is told to write its checkpoint.
RESOURCES=({gpu}--cpus-per-task=8 --mem=32G --time={minutes} --signal=B:TERM@60)

task() {{
  exec "${{MEDSEG[@]}}" compare "$STUDY" -o "$OUT" "${{OPTIONS[@]}}" --task "$1"
}}

submit() {{
  local prepared trained
  mkdir -p "$OUT/slurm"
  local log=(--output "$OUT/slurm/%x_%A_%a.txt")
  prepared=$(sbatch --parsable --job-name={name}_data "${{log[@]}}" \
    "${{RESOURCES[@]}}" "$0" prepare)
  trained=$(sbatch --parsable --job-name={name} "${{log[@]}}" --array=0-{last} \
    --dependency="afterok:${{prepared%%;*}}" "${{RESOURCES[@]}}" "$0" run)
  sbatch --job-name={name}_compare "${{log[@]}}" \
    --dependency="afterany:${{trained%%;*}}" "${{RESOURCES[@]}}" "$0" compare
}}

case "${{1:-submit}}" in
  submit) submit ;;
  run) task "${{SLURM_ARRAY_TASK_ID:?set by SLURM, or by you to try one run}}" ;;
  prepare | compare) task "$1" ;;
  *)
    echo "expected submit, prepare, run or compare" >&2
    exit 2
    ;;
esac
"""
