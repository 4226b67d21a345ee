"""Chooses a store's plan: a given one, one that a user edited, or a new one."""

import json
from pathlib import Path
from typing import Any, Literal

from medseg.files import hash_text, write_text
from medseg.fingerprint import Fingerprint
from medseg.instances.targets import Target
from medseg.labels import LabelScheme
from medseg.plan import Plan, read_plan, write_plan
from medseg.preparation.inheritance import Inheritance
from medseg.preparation.planning import Compute, make_plan
from medseg.progress import Progress
from medseg.store.store import PLAN
from medseg.types import Spacing

NOTE = "planned.json"
"""Hash of the plan as it was made, and what was asked for, to know both again."""


def decide(
    folder: Path,
    fingerprint: Fingerprint,
    scheme: LabelScheme,
    *,
    given: Path | None,
    spatial_dims: Literal[2, 3] | None,
    compute: Compute,
    memory_bytes: int | None,
    instance_target: Target | Literal["none"] | None = None,
    target_spacing: Spacing | None = None,
    inherit: Inheritance | None = None,
    progress: Progress,
) -> Plan:
    """The plan of a store, written into its folder.

    A given plan comes first, then one in the folder that was edited, then the one in
    the folder if the same was asked for the same data (free memory may differ from
    day to day; the plan may not), and only then a new one.

    Raises:
        MissingFileError: The given plan is not there.
        SettingsError: A plan is wrong; each wrong key is named.
        OutputError: The folder cannot be written.
    """
    path = folder / PLAN
    asked: dict[str, Any] = {
        "data": fingerprint.key,
        "dims": spatial_dims,
        "compute": compute,
    }
    if instance_target is not None:
        asked["instance_target"] = instance_target
    if target_spacing is not None:
        asked["target_spacing"] = list(target_spacing)
    if inherit is not None:
        asked["inherits"] = inherit.key
        spatial_dims = spatial_dims or inherit.parent.spatial_dims
    if given is not None:
        plan = read_plan(given)
        if path.resolve() != given.resolve():
            write_plan(path, plan)
        return plan
    if path.exists():
        note = _read_note(folder / NOTE)
        edited = note.get("sha256") != _hash(path)
        if edited:
            progress.say(f"{path} was edited and is used as it is")
        if edited or note.get("asked") == asked:
            return read_plan(path)
    plan = make_plan(
        fingerprint,
        scheme,
        spatial_dims=spatial_dims,
        compute=compute,
        memory_bytes=memory_bytes,
        instance_target=instance_target,
        target_spacing=target_spacing,
    )
    if inherit is not None:
        plan = inherit.plan(plan, fingerprint)
        if target_spacing is not None:
            plan = plan.replaced(target_spacing=target_spacing)
    write_plan(path, plan)
    write_text(folder / NOTE, json.dumps({"sha256": _hash(path), "asked": asked}))
    return plan


def _hash(path: Path) -> str:
    return hash_text(path.read_text(encoding="utf-8"))


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note
