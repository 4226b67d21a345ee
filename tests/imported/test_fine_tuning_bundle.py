"""Training can begin with a MONAI bundle."""

from pathlib import Path

import yaml
from monai_bundles import BEFORE, config_of, write_bundle

from medseg.runs.parent import open_parent
from medseg.settings import parse_settings
from medseg.training.settings import InitSettings


def test_plan_and_weights_are_those_of_the_bundle(tmp_path: Path) -> None:
    load, first, orient, space, _, kind = BEFORE
    scaled = {"_target_": "ScaleIntensityd", "keys": "image"}
    for name, steps, wanted in (
        ("ct", BEFORE, "ct"),
        ("scaled", [load, first, orient, space, scaled, kind], "minmax"),
    ):
        write_bundle(tmp_path / name, config_of(before=steps))
        values = {"model": str(tmp_path / name)}
        init = parse_settings(InitSettings, values, source="test")
        parent = open_parent(init, tmp_path / "run")
        assert parent is not None
        plan = parent.record.plan
        assert plan.channels[0].normalization == wanted
        assert plan.network.name == "monai.networks.nets:UNet"
        assert plan.target_spacing == (2.0, 2.0, 2.0)
        assert parent.record.ancestors[0].licence == "Copyright (c) nobody"
        assert yaml.safe_dump(parent.record.model_dump(mode="json"))
