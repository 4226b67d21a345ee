"""The parts of a bundle's inference, by way of its evaluator, data set and handlers."""

from collections.abc import Mapping
from typing import Any

from medseg.errors import ModelError
from medseg.imported.bundle_arguments import class_name
from medseg.imported.bundle_config import BundleConfig

EVALUATOR = "SupervisedEvaluator"
_HARMLESS_EVALUATOR = frozenset(
    {
        *("device", "val_data_loader", "epoch_length", "non_blocking", "network"),
        *("inferer", "postprocessing", "key_val_metric", "additional_metrics"),
        *("metric_cmp_fn", "val_handlers", "amp", "decollate", "to_kwargs"),
        *("amp_kwargs", "compile", "compile_kwargs"),
    }
)
_HARMLESS_HANDLERS = frozenset(
    {
        *("StatsHandler", "CheckpointLoader", "TensorBoardStatsHandler"),
        *("TensorBoardImageHandler", "MLFlowHandler", "MetricsSaver", "MeanDice"),
        *("MeanIoUHandler", "SurfaceDistance", "HausdorffDistance"),
        *("ConfusionMatrix", "GarbageCollector", "LogfileHandler"),
        *("ValidationHandler", "ProbMapProducer"),
    }
)


def parts_of(config: BundleConfig) -> dict[str, Any]:
    """Network, transforms, inferer and handlers, by way of the evaluator.

    Raises:
        ModelError: There is no network, or the evaluator does more than MONAI's.
    """
    parts = {
        key: config.values.get(key)
        for key in ("preprocessing", "inferer", "postprocessing")
    }
    parts["network"] = config.values.get("network", config.values.get("network_def"))
    parts["handlers"] = config.values.get("handlers")
    if "evaluator" in config.values:
        target, args, place = config.component("@evaluator", "evaluator")
        if class_name(target, {EVALUATOR: ""}) is None:
            raise ModelError(
                f"{config.source}: {place} is {target!r:.80}; expected {EVALUATOR}"
            )
        strange = sorted(set(args) - _HARMLESS_EVALUATOR)
        given = [k for k in strange if config.plain(args[k], f"{place}::{k}")]
        if given:
            raise ModelError(
                f"{config.source}: {place}::{given[0]} is not known; refused"
            )
        for key in ("network", "inferer", "postprocessing"):
            parts[key] = args.get(key, parts[key])
        parts["handlers"] = args.get("val_handlers", parts["handlers"])
        parts["preprocessing"] = _transform_of(config, args) or parts["preprocessing"]
    _require_harmless_handlers(config, parts["handlers"])
    for key in ("network", "preprocessing"):
        if parts[key] is None:
            raise ModelError(f"{config.source}: has no {key}")
    if parts["inferer"] is None:
        parts["inferer"] = {"_target_": "SimpleInferer"}
    return parts


def _transform_of(config: BundleConfig, evaluator: Mapping[str, Any]) -> Any:
    """The transform of the data set that the evaluator reads; None where it has none.

    Raises:
        ModelError: Its loader or data set is none of MONAI's.
    """
    value, place = evaluator.get("val_data_loader"), "evaluator::val_data_loader"
    if value is None:
        return None
    kinds = {"DataLoader": "", "ThreadDataLoader": ""}
    for key, known in (
        ("dataset", kinds),
        ("transform", {"Dataset": "", "CacheDataset": "", "PersistentDataset": ""}),
    ):
        target, args, place = config.component(value, place)
        if class_name(target, known) is None:
            raise ModelError(
                f"{config.source}: {place} is {target!r:.80}; expected "
                f"{' or '.join(known)}"
            )
        value, place = args.get(key), f"{place}::{key}"
    return value


def _require_harmless_handlers(config: BundleConfig, value: Any) -> None:
    """Refuses handlers that may change labels: scripts, and MONAI's PostProcessing.

    Raises:
        ModelError: There is one; it is named.
    """
    if value is None:
        return
    for part, place in config.items(value, "handlers"):
        part, place = config.followed(part, place)
        target = part.get("_target_") if isinstance(part, Mapping) else part
        if class_name(str(target), dict.fromkeys(_HARMLESS_HANDLERS)) is None:
            raise ModelError(
                f"{config.source}: {place} is {target!r:.80}, a handler that may "
                f"change what comes out; refused. Without it: --set {place}=null"
            )


def stated_weights(
    config: BundleConfig, parts: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Where a CheckpointLoader finds the weights, and under which key.

    Raises:
        ModelError: The path cannot be told without running something.
    """
    loaders: list[tuple[Any, str]] = []
    if "checkpointloader" in config.values:
        loaders.append(config.followed("@checkpointloader", "checkpointloader"))
    if parts["handlers"] is not None:
        loaders += [
            config.followed(part, place)
            for part, place in config.items(parts["handlers"], "handlers")
        ]
    for value, place in loaders:
        target = value.get("_target_") if isinstance(value, Mapping) else None
        if class_name(str(target), {"CheckpointLoader": ""}) is None:
            continue
        path = config.plain(value.get("load_path"), f"{place}::load_path")
        names = value.get("load_dict")
        key = next(iter(names), None) if isinstance(names, Mapping) else None
        return (str(path) if path else None), key
    return None, None
