"""From a CT on disk to a label map on disk: medseg, MONAI, nnU-Net; same weights.

    python benchmarks/inference.py --data FOLDER --peer-python PEERS/bin/python
    python benchmarks/inference.py --quick          small, in minutes
    python benchmarks/inference.py --device cuda
    python benchmarks/inference.py --null           the tiling alone

FOLDER holds images/ and labels/ with one CT; without --data a simulated one is used.
Rows `end_to_end` time reading, preparing, windows, export and writing of one scan in a
fresh process that has loaded the model; `export` is what comes after the last window,
`network` the time in the network, both as shares; RSS is the peak of the whole process.

The network is a small U-Net of which all sides run the same weights (medseg its model
folder, the others one TorchScript file traced from it). It is trained here on this very
CT, for `--train-seconds`, to tell lungs, soft tissue and bone: a task that minutes
suffice for, since the label maps of a network that was only begun change with every
shift of a window. Dice against the CT would be no score, and none is shown, but how far
label maps differ from medseg's reference (overlap 0.5, the whole scan, float32):
1 - Dice, mean over structures. Instance normalization takes its statistics from the
window, so that sides whose windows begin elsewhere differ by that alone;
`--normalization batch` leaves their resampling as the only difference. With more
outputs than structures, the others have a bias that never wins.

Scans: the CT as it is (512 x 512 x 105), and 800 slices made by going up and down
through it. nnU-Net is not needed by medseg; `--peer-python` names its interpreter.
Sides: `medseg` (its defaults: engine and windows chosen beforehand, once per model, by
its own measurement, whose time is a row of its own), `medseg_torch` (the same network
run by torch), `medseg_half` (the reference: streaming alone), `monai`
(sliding_window_inference, Invertd of probabilities, argmax), `monai_argmax` (argmax
before Invertd, nearest neighbour: less memory, coarser borders), `nnunet`.
"""

import argparse
import gc
import json
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe_machine, print_rows

SPACING = (2.0, 2.0, 4.0)
PATCH = (96, 96, 48)
CLIP, MEAN, STD = (-200.0, 300.0), 40.0, 120.0
SIDES = ("medseg", "medseg_torch", "medseg_half", "monai", "monai_argmax", "nnunet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="images/ and labels/ of a CT")
    parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--sizes", nargs="+", default=["512x512x105", "512x512x800"])
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 118])
    parser.add_argument(
        "--channels", type=int, nargs="+", default=[16, 32, 64, 128, 256]
    )
    parser.add_argument("--normalization", default="instance")
    parser.add_argument("--train-seconds", type=float, default=240)
    parser.add_argument("--limit", type=float, default=3600, help="seconds a side")
    parser.add_argument("--max-ram", default="8g", help="medseg's budget")
    parser.add_argument("--peer-ram", type=float, help="GB; more ends a side")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, help="keep files here")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--null", action="store_true", help="the tiling alone")
    parser.add_argument("--no-null", action="store_true", help="without the tiling")
    parser.add_argument("--json", action="store_true", help="one object per row")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    if options.quick:
        options.sizes, options.classes = ["160x160x60"], [3, 20]
        options.channels, options.train_seconds = [8, 16], 20
    rows = [] if options.no_null else null_rows(options)
    if not options.null:
        folder = options.work or Path(tempfile.mkdtemp())
        try:
            rows += end_to_end_rows(options, folder)
        finally:
            if options.work is None:
                shutil.rmtree(folder, ignore_errors=True)
    report = {"machine": machine(options), "rows": rows}
    if options.json:
        print_rows(paired(rows), machine=describe_machine(options.device))
        return
    print(table(report))


def paired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per other side, against medseg on the same case; above 1 medseg is faster.

    Where there is no other side, medseg's own seconds stand alone.
    """
    own = {row["case"]: row for row in rows if row["side"] == "medseg"}
    pairs = []
    for row in rows:
        ours = own.get(row["case"], {})
        alone = sum(r["case"] == row["case"] for r in rows) == 1
        if row["side"] == "medseg" and not alone:
            continue
        seconds, peer = ours.get("seconds"), row.get("seconds")
        pairs.append(
            {
                "name": f"{row['case']}: medseg against {row['side']}",
                "ours": seconds,
                "peer": None if alone else peer,
                "ratio": None if alone or not (seconds and peer) else peer / seconds,
                "unit": "s",
                "medseg": ours,
                "other": {} if alone else row,
            }
        )
    return pairs


# ---- end to end -------------------------------------------------------------------


def end_to_end_rows(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    scans = {size: write_scan(options.data, folder, size) for size in options.sizes}
    first = next(iter(scans.values()))
    for classes in options.classes:
        model = folder / f"model_{classes}"
        if not (model / "model.yaml").is_file():  # kept in --work
            run_worker(options, sys.executable, "prepare", model, first, classes)
        chosen = run_worker(options, sys.executable, "choose", model, first, classes)
        rows.append({"case": f"choice_of_windows_{classes}", "side": "medseg"} | chosen)
        for size, scan in scans.items():
            rows += compare(options, model, scan, size=size, classes=classes)
    return rows


def compare(
    options: argparse.Namespace, model: Path, scan: Path, *, size: str, classes: int
) -> list[dict[str, Any]]:
    """Rows of all sides for a scan, in turns; differences from `medseg_half`."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
    for _ in range(options.rounds):
        for side in options.sides:
            python = options.peer_python if side == "nnunet" else sys.executable
            if python is None:
                results[side].append({"failed": "no --peer-python given"})
                continue
            results[side].append(
                run_worker(options, python, side, model, scan, classes)
            )
    rows = []
    for side, several in results.items():
        good = [result for result in several if "seconds" in result]
        row = {"case": f"end_to_end_{size}_{classes}_classes", "side": side}
        if not good:
            rows.append(row | several[0])
            continue
        row["seconds"] = statistics.median(r["seconds"] for r in good)
        row["peak_rss_gb"] = max(r["peak_rss_gb"] for r in good)
        for part in ("export", "network"):
            row[f"{part}_share"] = statistics.median(
                r[part] / r["seconds"] for r in good
            )
        row |= {key: good[0][key] for key in ("windows", "notes") if key in good[0]}
        reference = labels_of(model, "medseg_half", scan)
        if reference.is_file() and labels_of(model, side, scan).is_file():
            row["difference"] = difference(labels_of(model, side, scan), reference)
        rows.append(row)
    ours = next((r for r in rows if r["side"] == "medseg" and "seconds" in r), None)
    for row in rows:
        if ours is not None and "seconds" in row:
            row["times_medseg"] = row["seconds"] / ours["seconds"]
    return rows


def run_worker(
    options: argparse.Namespace,
    python: str,
    side: str,
    model: Path,
    scan: Path,
    classes: int,
) -> dict[str, Any]:
    """What a fresh process measured, or why it did not."""
    job = {
        "side": side,
        "model": str(model),
        "scan": str(scan),
        "classes": classes,
        "channels": options.channels,
        "normalization": options.normalization,
        "train_seconds": options.train_seconds,
        "device": options.device,
        "threads": options.threads,
        "max_ram": options.max_ram,
        "peer_ram": options.peer_ram,
    }
    command = [python, __file__, "--worker", json.dumps(job)]
    env = os.environ | {
        "nnUNet_raw": "",
        "nnUNet_preprocessed": "",
        "nnUNet_results": "",
    }
    print(f"{side}: {scan.name}, {classes} classes", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=options.limit, env=env
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {options.limit:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1][:200]
        if done.returncode == -9:
            last = "killed (out of memory)"
        return {"failed": last}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def write_scan(data: Path | None, folder: Path, size: str) -> Path:
    """The CT in RAS order, its middle cropped or its slices repeated to a size."""
    import nibabel as nib
    import numpy as np

    path = folder / f"ct_{size}_0000.nii.gz"
    if path.is_file():
        return path
    if data is None:
        voxels, truth, affine = phantom()
    else:
        image = nib.as_closest_canonical(nib.load(one_file(data / "images")))
        labels = nib.as_closest_canonical(nib.load(one_file(data / "labels")))
        voxels, affine = np.asarray(image.dataobj), image.affine
        truth = np.asarray(labels.dataobj).astype(np.uint8)
    nib.save(nib.Nifti1Image(fitted(voxels, size), affine), path)
    nib.save(
        nib.Nifti1Image(fitted(truth, size), affine), folder / f"truth_{size}.nii.gz"
    )
    return path


def phantom() -> tuple[Any, Any, Any]:
    """A simulated chest of ellipsoids: HU (512, 512, 105), labels (lungs: 1, 2)."""
    import numpy as np

    spacing = np.array([1.27, 1.27, 4.0])
    shape = (512, 512, 105)
    grid = np.indices(shape, dtype=np.float32).T.T
    i, j, k = (
        (axis - (n - 1) / 2) * mm
        for axis, n, mm in zip(grid, shape, spacing, strict=True)
    )
    body = (i / 200) ** 2 + (j / 130) ** 2 < 1
    values = np.where(body, 30.0, -1000.0).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    organs = [  # label, HU, centre and half-axes in mm
        (1, -850, (85, 0, 40), (65, 95, 150)),
        (2, -850, (-85, 0, 40), (65, 95, 150)),
        (3, 60, (25, 25, 0), (60, 50, 60)),
        (5, 90, (-70, 10, -130), (100, 90, 70)),
        (4, 45, (0, -85, 0), (8, 8, 400)),
        (6, 40, (-90, 20, 60), (18, 18, 20)),
    ]
    for label, hu, centre, half in organs:
        inside = sum(
            ((axis - c) / h) ** 2
            for axis, c, h in zip((i, j, k), centre, half, strict=True)
        )
        values[(inside < 1) & body] = hu
        labels[(inside < 1) & body] = label
    noise = np.random.default_rng(0).normal(0, 20, shape)
    return (values + noise).astype(np.int16), labels, np.diag([*spacing, 1.0])


def fitted(voxels: Any, size: str) -> Any:
    import numpy as np

    for axis, wanted in enumerate(int(n) for n in size.split("x")):
        have = voxels.shape[axis]
        if wanted <= have:
            start = (have - wanted) // 2
            index = np.arange(start, start + wanted)
        else:
            index = np.arange(wanted) % (2 * have - 2)
            index = np.minimum(index, 2 * have - 2 - index)
        voxels = np.take(voxels, index, axis=axis)
    return np.ascontiguousarray(voxels)


def one_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.is_file())


def labels_of(model: Path, side: str, scan: Path) -> Path:
    return model.parent / f"{model.name}_{side}" / scan.name.replace("_0000", "")


def difference(one: Path, other: Path) -> float:
    """Mean of 1 - Dice over structures."""
    import nibabel as nib
    import numpy as np

    a, b = (np.asarray(nib.load(path).dataobj).ravel() for path in (one, other))
    values = []
    for label in np.union1d(np.unique(a), np.unique(b)):
        if label:
            x, y = a == label, b == label
            values.append(1 - 2 * (x & y).sum() / (x.sum() + y.sum()))
    return float(np.mean(values)) if values else 0.0


# ---- what runs in a process of its own ----------------------------------------------


class Clock:
    """Time in the network, and when it was last used."""

    def __init__(self, network: Any, *, device: str) -> None:
        self.network, self.device = network, device
        self.seconds, self.last, self.calls = 0.0, time.perf_counter(), 0

    def __call__(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        started = self._now()
        result = self.network(batch)
        self.last = self._now()
        self.seconds += self.last - started
        self.calls += 1
        return result

    def _now(self) -> float:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()


def work(job: dict[str, Any]) -> None:
    import torch

    warnings.simplefilter("ignore")
    if job["peer_ram"]:  # a side that wants more fails instead of all others
        most = int(job["peer_ram"] * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    torch.set_num_threads(job["threads"])
    kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "prepare": prepare_model,
        "choose": choose,
        "nnunet": run_nnunet,
        "monai": run_monai,
        "monai_argmax": run_monai,
    }
    sys.stdout, kept = sys.stderr, sys.stdout  # sides print what they like
    result = kinds.get(job["side"], run_medseg)(job)
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins at the parent's
    high = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    result["peak_rss_gb"] = int(high.split()[1]) / 2**20
    print(json.dumps(result), file=kept)


def out_file(job: dict[str, Any]) -> Path:
    path = labels_of(Path(job["model"]), job["side"], Path(job["scan"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def timed(job: dict[str, Any], clock: Clock, run: Callable[[], Any]) -> dict[str, Any]:
    gc.collect()
    started = time.perf_counter()
    run()
    ended = time.perf_counter()
    return {
        "seconds": ended - started,
        "network": clock.seconds,
        "export": ended - clock.last,
        "windows": clock.calls,
    }


def run_medseg(job: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import replace

    from medseg.inference.settings import InferenceSettings
    from medseg.prediction.scan import Scan
    from medseg.prediction.segmenter import Segmenter

    half, plain = job["side"] == "medseg_half", job["side"] != "medseg"
    settings = InferenceSettings.model_validate(
        {
            "overlap": 0.5 if half else "auto",
            "roi": "all" if half else "auto",
            "engine": "torch" if plain else "auto",
            "precision": "float32" if half else "auto",
            "max_ram": job["max_ram"],
        }
    )
    out = out_file(job)
    device = job["device"]
    segmenter = Segmenter.load(
        Path(job["model"]), out.parent, device=device, settings=settings
    )
    segmentation = segmenter.segmentation
    predictor = segmentation.predictor
    clock = Clock(predictor.forward or predictor.folded, device=device)
    timed_model = replace(segmentation, predictor=replace(predictor, forward=clock))
    segmenter = replace(segmenter, segmentation=timed_model)
    scan = Scan.of_files(out.name.partition(".")[0], (Path(job["scan"]),))
    lines = []
    result = timed(job, clock, lambda: lines.append(segmenter.segment(scan)))
    if lines[0].failed:
        raise SystemExit(lines[0].reason)
    return result | {"notes": list(lines[0].warnings), "engine": segmentation.engine}


def choose(job: dict[str, Any]) -> dict[str, Any]:
    """Engines and windows, chosen at first use; what later calls find."""
    started = time.perf_counter()
    result = run_medseg(job | {"side": "medseg"})
    rest = time.perf_counter() - started - result["seconds"]
    return {"seconds": result["seconds"], "loading": rest, "notes": result["notes"]}


def run_monai(job: dict[str, Any]) -> dict[str, Any]:
    import torch
    from monai import transforms as mt
    from monai.inferers import sliding_window_inference

    device = torch.device(job["device"])
    clock = Clock(traced(job), device=job["device"])
    key, out = "image", out_file(job)
    before = mt.Compose(
        [
            mt.LoadImaged(key),
            mt.EnsureChannelFirstd(key),
            mt.Orientationd(key, axcodes="RAS", labels=None),
            mt.Spacingd(key, pixdim=SPACING, mode="bilinear"),
            mt.ScaleIntensityRanged(
                key,
                *CLIP,
                (CLIP[0] - MEAN) / STD,
                (CLIP[1] - MEAN) / STD,
                clip=True,
            ),
        ]
    )
    early = job["side"] == "monai_argmax"
    back = mt.Invertd(
        "pred", transform=before, orig_keys=key, nearest_interp=early, to_tensor=True
    )
    decide = mt.AsDiscreted("pred", argmax=True)
    save = mt.SaveImage(
        output_dir=out.parent,
        output_postfix="",
        separate_folder=False,
        output_dtype="uint8",
        print_log=False,
    )
    after = mt.Compose(
        [decide, back]
        if early
        else [mt.Activationsd("pred", softmax=True), back, decide]
    )

    def run() -> None:
        data = before({key: job["scan"]})
        with torch.inference_mode():
            logits = sliding_window_inference(
                data[key].unsqueeze(0),
                PATCH,
                1,
                clock,
                overlap=0.5,
                mode="gaussian",
                sw_device=device,
                device=torch.device("cpu"),
            )
            data["pred"] = logits[0]
            done = after(data)
        save(done["pred"])  # named after the scan
        (out.parent / Path(job["scan"]).name).replace(out)

    return timed(job, clock, run)


def run_nnunet(job: dict[str, Any]) -> dict[str, Any]:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(nnunet_plans())
    names = {"background": 0} | {f"s{n}": n for n in range(1, job["classes"])}
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": names,
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    device = torch.device(job["device"])
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=device.type == "cuda",
        device=device,
        allow_tqdm=False,
    )
    network = traced(job)
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration("3d_fullres"),
        None,
        dataset,
        "nnUNetTrainer",
        None,
    )
    clock = Clock(network, device=job["device"])

    class Timed(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return clock(x)

    predictor.network = Timed()
    predictor.list_of_parameters = [predictor.network.state_dict()]
    out = str(out_file(job)).removesuffix(".nii.gz")
    return timed(
        job,
        clock,
        lambda: predictor.predict_from_files_sequential([[job["scan"]]], [out]),
    )


def nnunet_plans() -> dict[str, Any]:
    """Plans as `nnUNetv2_plan_experiment` writes them, for this spacing and patch."""
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    name = "resample_data_or_seg_to_shape"
    intensities = {
        "mean": MEAN,
        "std": STD,
        "median": MEAN,
        "min": -1024.0,
        "max": 3000.0,
        "percentile_00_5": CLIP[0],
        "percentile_99_5": CLIP[1],
    }
    return {
        "dataset_name": "Dataset001_CT",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING),
        "original_median_shape_after_transp": [512, 512, 105],
        "image_reader_writer": "NibabelIO",
        "transpose_forward": [2, 1, 0],  # arrays come as (z, y, x)
        "transpose_backward": [2, 1, 0],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 1,
                "patch_size": list(PATCH),
                "median_image_size_in_voxels": list(PATCH),
                "spacing": list(SPACING),
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": name,
                "resampling_fn_data_kwargs": resampling | {"order": 3},
                "resampling_fn_seg": name,
                "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
                "resampling_fn_probabilities": name,
                "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
                "batch_dice": False,
                "architecture": {
                    "network_class_name": "none",
                    "arch_kwargs": {},
                    "_kw_requires_import": [],
                },
            }
        },
    }


def traced(job: dict[str, Any]) -> Any:
    import torch

    network = torch.jit.load(f"{job['model']}.pt", map_location=job["device"])
    return network.eval()


def prepare_model(job: dict[str, Any]) -> dict[str, Any]:
    """Trains the network, or takes the weights of the first number of classes."""
    import torch

    from medseg.labels import LabelScheme
    from medseg.model import Provenance, save_model
    from medseg.networks.build import build_network
    from medseg.networks.settings import UNetSettings
    from medseg.plan import ChannelPlan, Plan

    torch.manual_seed(0)
    channels = tuple(job["channels"])
    classes = job["classes"]
    plan = Plan(
        name="benchmark",
        spatial_dims=3,
        target_spacing=SPACING,
        channels=(
            ChannelPlan(name="CT", normalization="ct", clip=CLIP, mean=MEAN, std=STD),
        ),
        labels=LabelScheme(names={f"s{n}": n for n in range(1, classes)}),
        patch_size=PATCH,
        batch_size=1,
        network=UNetSettings(
            channels=channels,
            strides=(1,) + (2,) * (len(channels) - 1),
            normalization=job["normalization"],
        ),
    )
    network = build_network(
        plan.network, spatial_dims=3, in_channels=1, out_channels=classes
    )
    losses = train(network, plan, job)
    save_model(Path(job["model"]), network.eval(), plan, Provenance())
    device = job["device"]
    network.to(device)
    example = torch.zeros((1, 1, *PATCH), device=device)
    with torch.no_grad():
        torch.jit.trace(network, example).save(f"{job['model']}.pt")
    return {"loss": losses}


def train(network: Any, plan: Any, job: dict[str, Any]) -> list[float]:
    """Patches of this CT for a time; outputs beyond its structures never win.

    Patches are of the size that is predicted, since instance normalization takes its
    statistics from them; the learning rate ends at zero. A network that was only
    begun answers by chance where it is unsure, and its label maps then differ with
    every shift of a window.
    """
    import numpy as np
    import torch

    from medseg.io import read_label_map, read_volume
    from medseg.preparation.preprocessing import preprocess, preprocess_label

    scan = Path(job["scan"])
    size = scan.name.removeprefix("ct_").removesuffix("_0000.nii.gz")
    found = read_label_map(scan.with_name(f"truth_{size}.nii.gz"))
    volume = read_volume([scan])
    values = tissues(volume.voxels[0], found.voxels, bone=job["classes"] > 3)
    used = int(values.max())
    prepared = preprocess(volume, plan)
    target = preprocess_label(
        type(found)(values, found.affine), prepared.placement, plan
    )
    with torch.no_grad():
        network.core.heads[0].bias[used + 1 :] = -20.0
    rng = np.random.default_rng(0)
    places = [np.argwhere(target == label) for label in range(used + 1)]
    places = [place for place in places if len(place)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
    weight = torch.ones(job["classes"])
    weight[0] = 0.3
    image = torch.from_numpy(prepared.image)
    labels = torch.from_numpy(target.astype(np.int64))
    patch = tuple(min(n, m) for n, m in zip(PATCH, target.shape, strict=True))
    network.train()
    losses: list[float] = []
    started, wanted = time.perf_counter(), job["train_seconds"]
    while (passed := (time.perf_counter() - started) / wanted) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * 0.5 * (1 + math.cos(math.pi * passed))
        place = places[rng.integers(len(places))]
        centre = place[rng.integers(len(place))]
        box = tuple(
            slice(start, start + n)
            for c, n, m in zip(centre, patch, target.shape, strict=True)
            for start in [int(np.clip(c - rng.integers(n), 0, m - n))]
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(image[(slice(None), *box)].unsqueeze(0)).float()
        loss = torch.nn.functional.cross_entropy(
            logits, labels[box].unsqueeze(0), weight=weight
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return [round(statistics.mean(part), 3) for part in (losses[:10], losses[-30:])]


def tissues(hu: Any, truth: Any, *, bone: bool) -> Any:
    """1 lungs, 2 soft tissue, 3 bone if asked for; learnt within minutes."""
    import numpy as np

    values = np.where(hu > -300, 2, 0).astype(np.uint8)
    if bone:
        values[hu > 200] = 3
    values[(truth == 1) | (truth == 2)] = 1
    return values


# ---- the tiling alone ---------------------------------------------------------------


def null_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Blended logits of 256 x 256 x 160, 3 classes, 75 windows of 96, no network."""
    import torch
    from monai.inferers import SlidingWindowInferer, sliding_window_inference

    from medseg.inference.streaming import stream_rows
    from medseg.inference.tiling import blended_tiling, gaussian_importance, windows

    torch.set_num_threads(options.threads)
    shape, patch = (256, 256, 160), (96, 96, 96)
    if options.quick:
        shape, patch = (96, 96, 64), (48, 48, 48)
    image = torch.zeros(1, *shape)
    answer = torch.randn(1, 3, *patch)
    cached = SlidingWindowInferer(
        patch, 1, 0.5, mode="gaussian", cache_roi_weight_map=True
    )

    def network(_: Any) -> Any:
        return answer

    def medseg() -> None:
        out = torch.empty(3, *shape)
        tiling = blended_tiling(shape, window=patch, overlap=0.5)
        for rows in stream_rows(network, image, tiling):
            out[:, rows.new : rows.stop] = rows.logits()

    def floor() -> None:
        out, weights = torch.zeros(3, *shape), gaussian_importance(patch)
        for box in windows(shape, patch, 0.5):
            out[(slice(None), *box)].addcmul_(answer[0], weights)

    sides: dict[str, Callable[[], Any]] = {
        "medseg": medseg,
        "monai": lambda: sliding_window_inference(
            image[None], patch, 1, network, overlap=0.5, mode="gaussian"
        ),
        "monai_cached_weights": lambda: cached(image[None], network),
        "monai_buffered": lambda: sliding_window_inference(
            image[None],
            patch,
            1,
            network,
            overlap=0.5,
            mode="gaussian",
            buffer_steps=5,
            buffer_dim=0,
        ),
        "floor_additions_only": floor,
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    with torch.inference_mode():
        for _ in range(9):
            for side, run in sides.items():
                started = time.perf_counter()
                run()
                seconds[side].append(time.perf_counter() - started)
    return [
        {
            "case": "tiling_" + "x".join(map(str, shape)),
            "side": side,
            "seconds": statistics.median(values),
            "fastest": min(values),
        }
        for side, values in seconds.items()
    ]


# ---- table ------------------------------------------------------------------------


def machine(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    name = platform.processor() or platform.machine()
    if options.device != "cpu":
        name = torch.cuda.get_device_name(options.device)
    return {
        "device": name,
        "threads": options.threads,
        "torch": torch.__version__,
        "max_ram": options.max_ram,
        "channels": options.channels,
        "normalization": options.normalization,
        "patch": PATCH,
        "spacing_mm": SPACING,
    }


def table(report: dict[str, Any]) -> str:
    columns = (
        "seconds",
        "times_medseg",
        "peak_rss_gb",
        "export_share",
        "network_share",
        "difference",
        "windows",
        "failed",
    )
    lines = ["| case | side | " + " | ".join(columns) + " |"]
    lines.append("|" + "---|" * (len(columns) + 2))
    for row in report["rows"]:
        cells = [_cell(row.get(column, "")) for column in columns]
        lines.append(f"| {row['case']} | {row['side']} | " + " | ".join(cells) + " |")
    about = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return "\n".join([*lines, "", about, ""])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
