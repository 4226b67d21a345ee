"""The tracked run around a training: parameters first, files last, status always."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from medseg.ancestry import Ancestor
from medseg.files import write_text
from medseg.plain_text import without_folders
from medseg.plan import Plan
from medseg.plugins import find
from medseg.progress import Progress
from medseg.reporting.viewer.page import stand_alone
from medseg.runs.config import RunConfig, code_commit
from medseg.runs.parent import FILE as PARENT
from medseg.runs.parent import ParentRecord
from medseg.runs.setup import FILE as PLUGINS
from medseg.runs.setup import RunSetup, plugins_of
from medseg.runs.tracked_facts import (
    describe_run,
    held_out_cases,
    params_of,
    shared_config,
    tags_of,
    training_cases,
)
from medseg.scoring.report import PICTURES
from medseg.scoring.viewer_pages import FOLDER as PAGES
from medseg.settings import load_settings
from medseg.tracking.address import resolve_tracking_uri
from medseg.training.logger import (
    NullLogger,
    RunLogger,
    RunTracker,
    SeveralLoggers,
)


@contextmanager
def tracked_run(
    run: RunSetup,
    config: RunConfig,
    *,
    ancestors: Sequence[Ancestor] = (),
    resume: bool,
    parent_folder: Path | None,
    progress: Progress,
) -> Iterator[RunTracker]:
    """The run's logger; the tracked run ends as finished, killed or failed.

    Args:
        run: What was settled.
        config: Its configuration, which may track less.
        ancestors: Of the model that training began with.
        resume: Continue the run that the folder belongs to.
        parent_folder: Folder of the tracked study that the run is part of.
        progress: Told about trouble.
    """
    plan, store, out = run.plan, run.store, run.out
    logger = _open_logger(
        config,
        plan,
        out,
        resume=resume,
        parent_folder=parent_folder,
        progress=progress,
    )
    num_cases = len(run.train_ids) + len(run.held_out)
    logger.log_params(params_of(config, plan))
    logger.set_tags(
        {
            "data_manifest_sha256": store.manifest_hash,
            "medseg.commit": code_commit(),
            "medseg.run_folder": out.name,
            "mlflow.note.content": describe_run(config, plan, num_cases=num_cases),
            **tags_of(config, plan),
        }
    )
    if ancestors:
        logger.set_tags(
            {
                "medseg.parent": ancestors[0].name or "unnamed",
                "medseg.parent_sha256": ancestors[0].weights_sha256,
                "medseg.parent_licence": ancestors[0].licence or "not stated",
            }
        )
    logger.log_dataset(training_cases(run))
    if run.held_out:
        logger.log_dataset(held_out_cases(run))
    for place, (name, source) in plugins_of(config, plan).items():
        logger.set_tags({f"plugin.{place}": f"{name}, {source.describe()}"})
    try:
        yield logger
    except KeyboardInterrupt:
        logger.finish("KILLED")
        raise
    except BaseException:
        logger.finish("FAILED")
        raise
    logger.finish("FINISHED")


def _open_logger(
    config: RunConfig,
    plan: Plan,
    out: Path,
    *,
    resume: bool,
    parent_folder: Path | None,
    progress: Progress,
) -> RunTracker:
    first = _open_mlflow(
        config,
        plan,
        out,
        resume=resume,
        parent_folder=parent_folder,
        progress=progress,
    )
    others: dict[str, RunLogger] = {}
    for one in config.tracking.loggers:
        plugin = find(one.name, kind="trackers")
        about = {"folder": out, "run_name": out.name}
        about = {key: value for key, value in about.items() if plugin.takes(key)}
        others[one.name] = plugin.made(**{**about, **one.args})
    return SeveralLoggers(first, others, warn=progress.warn) if others else first


def _open_mlflow(
    config: RunConfig,
    plan: Plan,
    out: Path,
    *,
    resume: bool,
    parent_folder: Path | None,
    progress: Progress,
) -> RunTracker:
    if not config.tracking.enabled:
        return NullLogger()
    from medseg.tracking import open_mlflow_run

    logger = open_mlflow_run(
        tracking_uri=config.tracking.uri,
        experiment=config.tracking.experiment or plan.name,
        run_name=out.name,
        folder=out,
        parent_folder=parent_folder,
        resume=resume,
        system_metrics=config.tracking.system_metrics,
        progress=progress,
    )
    if logger.run_id:
        progress.say(f"tracked as MLflow run {logger.run_id}")
    return logger


def require_tracking(config: RunConfig, out: Path) -> None:
    """Refuses, before any work, an address of a kind that MLflow does not know.

    Raises:
        SettingsError: ``MLFLOW_TRACKING_URI`` or the configuration has such.
    """
    if config.tracking.enabled:
        resolve_tracking_uri(config.tracking.uri, folder=out)


FILES = ("plan.yaml", PLUGINS, "metrics.csv", "sampling.csv", "report.html")
"""What is kept of a run's folder as it is, beside the held-out cases."""
LOG = "run.log"


VALIDATION = "validation"
TABLES = ("cases.csv", "summary.csv", "lesions.csv", "objects.csv")
"""Scores of held-out cases, each also kept as a table to look at in MLflow."""


def log_config(config: RunConfig, logger: RunTracker) -> None:
    """Keeps a run's configuration as an artifact, without folders of this machine."""
    values = shared_config(config)
    _log_text("config.yaml", yaml.safe_dump(values, sort_keys=False), logger)


def log_files(out: Path, config: RunConfig, logger: RunTracker) -> None:
    """Keeps the files of a finished run as artifacts.

    Args:
        out: The run's folder.
        config: Of the run; names folders that the log is kept without.
        logger: Where to.
    """
    for name in FILES:
        if (out / name).is_file():
            logger.log_artifact(out / name)
    if (out / LOG).is_file():
        text = (out / LOG).read_text(encoding="utf-8", errors="backslashreplace")
        _log_text(LOG, without_folders(text, _folders(out, config)), logger)
    if (out / PARENT).is_file():
        record = load_settings(ParentRecord, out / PARENT)
        _log_text(PARENT, record.shared().to_text(), logger)
    for name in TABLES:
        if (out / VALIDATION / name).is_file():
            logger.log_table(out / VALIDATION / name)
    if (out / VALIDATION).is_dir():
        logger.log_artifact(out / VALIDATION, folder=VALIDATION)
        _log_viewer_pages(out / VALIDATION, logger)


def _folders(out: Path, config: RunConfig) -> list[Path]:
    """Folders that a run's messages may name."""
    init = config.training.init
    named = [config.data, config.root, init.model if init else None]
    paths = [Path(name) for name in named if name]
    return [out, out.absolute().parent, *paths, *(p.parent for p in paths), Path.cwd()]


def _log_text(name: str, text: str, logger: RunLogger) -> None:
    with TemporaryDirectory(prefix="medseg_shared_") as scratch:
        write_text(Path(scratch) / name, text)
        logger.log_artifact(Path(scratch) / name)


def _log_viewer_pages(folder: Path, logger: RunLogger) -> None:
    """Keeps the pages of the pictured cases so that each opens by itself.

    A tracking server shows an artifact without the script that lies beside it.
    """
    if isinstance(logger, NullLogger):
        return
    for picture in sorted((folder / PICTURES).glob("*.png")):
        page = folder / PAGES / f"{picture.stem}.html"
        if not page.is_file():
            continue
        with TemporaryDirectory() as place:
            alone = Path(place) / page.name
            write_text(alone, stand_alone(page.read_text(encoding="utf-8")))
            logger.log_artifact(alone, folder=PAGES)
