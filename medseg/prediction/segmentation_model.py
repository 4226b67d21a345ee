"""A trained model ready to segment: the one way from a volume to its label map.

Held-out scores, `medseg predict`, the DICOM node and Python calls all go through
`SegmentationModel.segment`, so that they give the same voxels.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from medseg.calibration.windows import windows_for
from medseg.device import pick_device
from medseg.inference.exact_predictor import ExactPredictor
from medseg.inference.nnunet.postprocess import keep_largest
from medseg.inference.predictor import Predictor
from medseg.inference.presence import presence_probabilities
from medseg.inference.settings import InferenceSettings
from medseg.instances.decoding_settings import DecodingSettings
from medseg.io.in_memory import AnyImage
from medseg.labels import LabelScheme
from medseg.model import CalibratedWindows, Model
from medseg.networks.network import SegmentationNetwork
from medseg.plausibility.judgement import Plausibility, judge
from medseg.postprocessing import CleaningRule, clean
from medseg.prediction.attempts import Attempts
from medseg.prediction.cells import is_slide, segment_slide
from medseg.prediction.ensemble import Ensemble, load_ensemble
from medseg.prediction.exact_model import exact_predictor
from medseg.prediction.one_image import find_scan, load_image, load_paths, paths_of
from medseg.prediction.pixel_scale import at_training_scale
from medseg.prediction.scan import Scan
from medseg.prediction.scan_volume import on_own_grid
from medseg.preparation.preprocessing import preprocess
from medseg.progress import Progress, Silent
from medseg.reading import read_label_map
from medseg.types import AnyPath
from medseg.volume import LabelMap, Volume


class PredictionWarning(UserWarning):
    """A scan was repaired, something about it was guessed, or it is suspect."""


@dataclass(frozen=True)
class SegmentationModel:
    """A model, or several that predict together, on its device.

    Attributes:
        saved: What the model folder holds; of several, what they come to together.
        predictor: The network with its windows, flips, engine and object decoding.
        engine: What runs the network, in words.
        rules: Post-processing of its label maps.
        exact: Segments in the predictor's place, as the tool that the model was
            imported from would.
        largest: Post-processing of imported models: unions of label values of which
            the largest component is kept.
        presence_networks: Networks whose presence head says which structures occur;
            empty where there is none.

    Examples:
        >>> import medseg
        >>> model = medseg.load_model("runs/tiny")  # trained by medseg.train
        >>> model.channels, model.labels.structures
        (('synthetic0',), ('ball', 'kernel'))
        >>> scan = medseg.read_volume("tiny/imagesTr/tiny_000.nii.gz")
        >>> model.predict(scan)
        LabelMap(24 x 28 x 20 uint8, 1 x 1 x 1.5 mm, RAS)
        >>> model.predict(scan.to_nibabel()).shape  # answers in the same kind
        (24, 28, 20)
    """

    saved: Model
    predictor: Predictor
    engine: str = ""
    rules: tuple[CleaningRule, ...] = ()
    exact: ExactPredictor | None = None
    largest: tuple[tuple[int, ...], ...] = ()
    presence_networks: tuple[SegmentationNetwork, ...] = ()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        settings: InferenceSettings | None = None,
        postprocess: bool = True,
        progress: Progress | None = None,
    ) -> "SegmentationModel":
        """The model of a folder, or several as an ensemble, ready to segment.

        Args:
            path: A model folder, a run, a folder of runs, or several of these
                separated by commas.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
            settings: Windows, overlap, flips and engine.
            postprocess: Apply the rules that are kept with the model.
            progress: Told of engines that are measured.

        Raises:
            MissingFileError: There is no model.
            ModelError: A model folder is damaged, or models do not fit together.
            SettingsError: There is no such device or engine.
            PredictionError: The engine that was named does not agree with torch.
        """
        return cls.of_members(
            load_ensemble(path),
            device=device,
            settings=settings,
            postprocess=postprocess,
            progress=progress,
        )

    @classmethod
    def of_members(
        cls,
        members: Ensemble,
        *,
        device: str = "auto",
        settings: InferenceSettings | None = None,
        postprocess: bool = True,
        progress: Progress | None = None,
    ) -> "SegmentationModel":
        """As `load`, for models that are loaded already."""
        saved, where = members.combined, pick_device(device)
        settings = settings or InferenceSettings()
        if saved.exact is not None:
            exact, engine = exact_predictor(
                members, where, settings, progress=progress or Silent()
            )
            return cls(
                saved,
                Predictor(saved.network.to(where), saved.plan, where, settings),
                engine,
                exact=exact,
                largest=saved.exact.keep_largest if postprocess else (),
            )
        flips = saved.flips if settings.flips is None else settings.flips
        settings = settings.replaced(flips=flips and saved.plan.can_mirror)
        forward, engine = members.forward(
            settings, device=where, progress=progress or Silent()
        )
        if settings.flips:
            engine += ", test-time flips averaged"
        predictor = Predictor(
            saved.network.to(where), saved.plan, where, settings, forward
        )
        model = cls(
            saved,
            predictor,
            engine,
            saved.postprocessing if postprocess else (),
            presence_networks=_with_presence_head(members, where),
        )
        return model.calibrated(windows=saved.windows, decoding=saved.decoding)

    def calibrated(
        self,
        *,
        windows: CalibratedWindows | None,
        decoding: DecodingSettings | None,
    ) -> "SegmentationModel":
        """The model with other windows and object decoding than it was loaded with."""
        predictor = replace(
            self.predictor,
            windows=windows_for(self.predictor, windows),
            decoding=decoding or DecodingSettings(),
        )
        saved = replace(self.saved, windows=windows, decoding=decoding)
        return replace(self, saved=saved, predictor=predictor)

    @property
    def labels(self) -> LabelScheme:
        """What the values of its label maps mean."""
        return self.saved.plan.labels

    @property
    def channels(self) -> tuple[str, ...]:
        """What each channel of a scan must hold, in order."""
        return self.saved.plan.channel_names

    def predict(
        self,
        image: AnyImage | AnyPath | Sequence[AnyPath],
        *,
        name: str = "image",
        series: Sequence[str] = (),
        strict: bool = False,
        notes: list[str] | None = None,
    ) -> Any:
        """The label map of one image, as `medseg predict` writes it, voxel by voxel.

        Args:
            image: A file, a folder with one DICOM series, or a list of files, one for
                each channel; or in memory a `Volume`, an (array, affine) with shape
                (I, J, K) or (C, I, J, K), a nibabel or SimpleITK image, a MetaTensor of
                MONAI, or a list of these, one for each channel.
            name: What messages call an image in memory.
            series: Rules for DICOM series, such as ``"Modality=CT"``.
            strict: Refuse a scan that needs repair.
            notes: Gets a line for what was repaired, decided or left out, and one
                with the reasons why the scan is suspect; by default repairs and
                these are warned of.

        Returns:
            A `LabelMap` of paths and of a `Volume`, else the kind of image that was
            given, on its own grid.

        Raises:
            InputError: It cannot be read or does not fit the model; of several scans
                at a path none is chosen.
            PredictionError: The memory budget does not suffice.
        """
        plan = self.saved.plan
        if paths := paths_of(image):
            scan = find_scan(paths, plan, series=series)
            if is_slide(scan, self.predictor):
                return self._segment_slide(scan, notes)
            name, one = scan.name, load_paths(scan, plan, strict=strict)
        else:
            one = load_image(image, plan, name=name, strict=strict)
        loaded = one.loaded
        label_map = self.segment(loaded.volume, name=name, notes=notes)
        attempts = Attempts()
        doubts: tuple[str, ...] = ()
        with attempts.of("check of plausibility"):
            doubts = self.plausibility(loaded.volume, label_map, name=name).doubts
        remarks = [*loaded.notes]
        remarks += [f"no {what}: {why}" for what, why in attempts.reasons.items()]
        if doubts:
            remarks.append(f"suspect: {'; '.join(doubts)}")
        if notes is None:
            for remark in remarks:
                warnings.warn(f"{name}: {remark}", PredictionWarning, stacklevel=2)
        else:
            notes += remarks
        return one.answer(on_own_grid(label_map, loaded, plan))

    def _segment_slide(self, scan: Scan, notes: list[str] | None) -> LabelMap:
        """The label map of a picture that goes through the network tile by tile."""
        with TemporaryDirectory(prefix="medseg_slide_") as folder:
            out = Path(folder)
            result = segment_slide(
                scan, self.predictor, out, attempts=Attempts(), progress=Silent()
            )
            if notes is not None:
                notes += result.notes
            return read_label_map(out / result.outputs[0])

    def segment(
        self,
        volume: Volume,
        *,
        name: str = "scan",
        notes: list[str] | None = None,
        probabilities: Path | None = None,
    ) -> LabelMap:
        """The label map of a scan, on the scan's own grid, after post-processing.

        Args:
            volume: The scan as it was read; any orientation and spacing.
            name: Case or file, for error messages.
            notes: Gets a line for what was done otherwise than asked, or left out.
            probabilities: A .b2nd file to write them to; none by default.

        Raises:
            InputError: The scan does not fit the plan.
            OutputError: The probabilities cannot be written.
            PredictionError: The memory budget does not suffice.
        """
        notes = [] if notes is None else notes
        taken = at_training_scale(volume, self.saved.plan, notes=notes)
        label_map = (self.exact or self.predictor).predict(
            taken, name=name, notes=notes, probabilities=probabilities
        )
        if self.largest:
            label_map = keep_largest(label_map, self.largest, notes=notes)
        label_map = clean_label_map(label_map, self, notes=notes)
        if taken is volume:
            return label_map
        return LabelMap(label_map.voxels, volume.affine)

    def plausibility(
        self, volume: Volume, label_map: LabelMap, *, name: str = "scan"
    ) -> Plausibility:
        """Whether a scan and its label map are like those of training.

        Args:
            volume: The scan as it was read.
            label_map: As `segment` gave it.
            name: Case or file, for error messages.

        Raises:
            InputError: The scan does not fit the plan.
        """
        return judge(volume, label_map, self.saved.plan, self.saved.ranges, name=name)

    def presence(self, volume: Volume, *, name: str = "scan") -> dict[str, float]:
        """Probability that each structure or region occurs anywhere in a scan.

        It is the answer of the presence head, which knows nothing of the label map:
        the largest over windows of the training patch's size, side by side.

        Args:
            volume: The scan as it was read; any orientation and spacing.
            name: Case or file, for error messages.

        Returns:
            By name; empty for models without a presence head, and for those of single
            objects.

        Raises:
            InputError: The scan does not fit the plan.
            PredictionError: The memory budget does not suffice.
        """
        if not self.presence_networks:
            return {}
        plan = self.saved.plan
        taken = at_training_scale(volume, plan, notes=[])
        image = preprocess(taken, plan, name=name).image
        found = presence_probabilities(
            self.predictor, image, self.presence_networks, name=name
        )
        names = plan.labels.regions or plan.labels.structures
        return dict(zip(names, (float(p) for p in found), strict=True))

    @property
    def depends_on(self) -> str:
        """Everything besides weights and scan that decides a label map, as text."""
        decoding = self.saved.decoding
        return " ".join(
            (
                self.predictor.settings.model_dump_json(exclude={"fast"}),
                self.saved.plan.model_dump_json(
                    exclude={"name", "batch_size", "reasons"}
                ),
                self.predictor.windows.describe() if self.predictor.windows else "",
                "; ".join(rule.describe() for rule in self.rules),
                decoding.describe() if decoding else "",
                *self._exactly,
            )
        )

    @property
    def _exactly(self) -> tuple[str, ...]:
        """What label maps of imported models depend on besides."""
        steps = [] if self.exact is None else [self.exact.description]
        steps += ["fast"] if self.predictor.settings.fast else []
        return (*steps, *([f"largest {self.largest}"] if self.largest else []))


def _with_presence_head(
    members: Ensemble, device: torch.device
) -> tuple[SegmentationNetwork, ...]:
    """The networks, where all have a presence head that answers for structures."""
    if members.combined.plan.instance_target != "none":
        return ()
    networks = [model.network for model in members.models]
    if all(
        isinstance(network, SegmentationNetwork) and network.presence is not None
        for network in networks
    ):
        return tuple(cast(SegmentationNetwork, n.to(device)) for n in networks)
    return ()


def clean_label_map(
    label_map: LabelMap, model: SegmentationModel, *, notes: list[str]
) -> LabelMap:
    """The label map after the model's post-processing; what it changed is noted."""
    scheme = model.saved.plan.labels
    if not model.rules:
        return label_map
    indices, remarks = clean(
        scheme.to_indices(label_map.voxels, name="prediction"),
        model.rules,
        scheme,
        spacing=label_map.grid.spacing,
    )
    notes += remarks
    if not remarks:
        return label_map
    return LabelMap(scheme.to_values(indices), label_map.affine)
