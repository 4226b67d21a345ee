"""One scan from its files to its label map on disk; a failure becomes a table row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.device import peak_memory_mb
from medseg.errors import OutputError, SettingsError
from medseg.files import hash_file, hash_text
from medseg.inference.exact_predictor import ExactPredictor
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.instances.measures import OUTLINES, count_numbers
from medseg.io import scan_stem, write_label_map
from medseg.io.dicom.label_objects.segment_codes import CodeTable, load_codes
from medseg.io.object_files import ObjectFormat
from medseg.model import Model
from medseg.plain_text import one_line
from medseg.plausibility.judgement import Plausibility
from medseg.prediction.attempts import Attempts
from medseg.prediction.captured_warnings import remarks_by_thread
from medseg.prediction.cells import (
    is_slide,
    segment_slide,
    write_cells,
    write_structures,
)
from medseg.prediction.dicom_results import (
    REPORT,
    REPORT_OBJECT,
    SEGMENTATION,
    SEGMENTATION_OBJECT,
    DicomResults,
    say_unknown,
)
from medseg.prediction.folder_page import draw_scan, picture_of, write_folder_page
from medseg.prediction.load import load_segmentation
from medseg.prediction.modality import modality_of
from medseg.prediction.records import DONE, FAILED, SET_ASIDE, UNCHANGED, Prediction
from medseg.prediction.replaced_results import remove_pictures, remove_results
from medseg.prediction.scan import Scan
from medseg.prediction.scan_job import ScanJob
from medseg.prediction.scan_volume import load_scan, on_own_grid
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.series_rules import SeriesRules, parse_series_rules
from medseg.prediction.sizes import Sizes, is_one_picture
from medseg.prediction.viewer_pages import page_of, write_scan_page
from medseg.progress import Progress, Silent
from medseg.volume import LabelMap, Volume

REPLACED = "replaces a result of this name that was made from other files"
"""Said of a scan that changed, or that another scan of an earlier call is called as."""
_LABEL_FORMATS = {".nrrd", ".mha", ".png", ".tif", ".tiff", ".nii"}


@dataclass(frozen=True)
class ScanOptions:
    """How scans are read and what is written."""

    strict: bool = False
    """Refuse scans that need repair (tilt, gaps, duplicates)."""
    seg: bool = False
    """Write a DICOM segmentation beside each DICOM scan's label map."""
    sr: bool = False
    """Write a DICOM report of measurements too, and the segmentation it refers to."""
    codes: Path | None = None
    """A table of segment codes whose entries come before the built-in ones."""
    postprocess: bool = True
    """Apply the rules that are kept with the model."""
    probabilities: bool = False
    """Write each scan's probabilities to a .b2nd file beside its label map."""
    cells_as: tuple[ObjectFormat, ...] = ()
    """As what else single objects are written."""
    page: bool = False
    """Write a small picture of each scan, and ``report.html`` with all of them."""


@dataclass(frozen=True)
class Segmenter:
    """A model on its device, and where its label maps go."""

    segmentation: SegmentationModel
    out: Path
    options: ScanOptions
    codes: CodeTable
    rules: SeriesRules
    settings_text: str
    """What else results depend on; equal texts make equal results."""

    @classmethod
    def load(
        cls,
        source: Path | SegmentationModel,
        out: Path,
        *,
        device: str = "auto",
        settings: InferenceSettings | None = None,
        options: ScanOptions | None = None,
        series: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> "Segmenter":
        """The model of a folder, or several as an ensemble, ready to segment.

        Args:
            source: Where the models are, a task list, or a model that is loaded
                already, with its device, settings and post-processing.
            out: Where label maps go.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
            settings: Windows, overlap, flips and engine.
            options: How scans are read and what is written.
            series: Rules for DICOM series.
            progress: Told of engines that are measured.

        Raises:
            MissingFileError: There is no model.
            ModelError: A model folder is damaged, or models do not fit together.
            SettingsError: There is no such device or engine, or a rule or code is
                wrong.
            PredictionError: The engine that was named does not agree with torch.
        """
        options = options or ScanOptions()
        if isinstance(source, SegmentationModel):
            model = source
        else:
            model = load_segmentation(
                source,
                device=device,
                settings=settings,
                postprocess=options.postprocess,
                progress=progress,
            )
        if options.probabilities and model.exact is not None:
            _require_probabilities(model.exact)
        rules = parse_series_rules(series, channels=model.saved.plan.channel_names)
        text = (
            f"{model.depends_on} {options.strict} {rules.text}"
            f"{' probabilities' if options.probabilities else ''}"
            f"{' '.join(['', *options.cells_as])}"
        )
        plan = model.saved.plan
        if options.cells_as and plan.instance_target == "none":
            raise SettingsError(
                f"cells as {', '.join(options.cells_as)}: {plan.name} does not tell "
                "single objects apart; leave it out, or train with instances: true"
            )
        codes = load_codes(options.codes)
        if options.codes is not None and (options.seg or options.sr):
            text += f" codes {hash_file(options.codes)}"
        if model.saved.ranges is not None:
            text += f" ranges {hash_text(model.saved.ranges.model_dump_json())}"
        if (options.seg or options.sr) and progress is not None:
            say_unknown(plan.labels.structures, codes, progress)
        return cls(
            segmentation=model,
            out=out,
            options=options,
            codes=codes,
            rules=rules,
            settings_text=hash_text(text)[:12],
        )

    @property
    def model(self) -> Model:
        """What the model folder holds."""
        return self.segmentation.saved

    @property
    def predictor(self) -> Predictor:
        """The network with its windows and settings."""
        return self.segmentation.predictor

    def segment(self, scan: Scan, earlier: Prediction | None = None) -> Prediction:
        """What became of a scan.

        Args:
            scan: The scan.
            earlier: Its line of an earlier call, whose results are still there.

        Raises:
            OutputError: The disk is full or read-only: nothing more can be written.
        """
        with remarks_by_thread():
            return self.write(self.compute(self.read(scan, earlier)))

    @property
    def _dicom_results(self) -> DicomResults:
        return DicomResults(self.model, self.codes, with_report=self.options.sr)

    def write_page(self, lines: Sequence[Prediction], *, progress: Progress) -> None:
        """Writes the page of the output folder, where one is wanted.

        Args:
            lines: What became of each scan.
            progress: Warned where there can be no page.

        Raises:
            OutputError: The disk is full or read-only.
        """
        if not self.options.page:
            return
        attempts, engine = Attempts(), self.segmentation.engine
        with attempts.of("page"):
            write_folder_page(self.out, lines, model=self.model, engine=engine)
        for reason in attempts.reasons.values():
            progress.warn(f"no page of all scans: {one_line(reason)}")

    def read(self, scan: Scan, earlier: Prediction | None = None) -> ScanJob:
        """The scan with its volume, or with its line where there is nothing to do."""
        job = ScanJob(scan)
        if scan.reason:
            status = FAILED if scan.is_fault else SET_ASIDE
            reason = scan.cleaned(scan.reason)
            job.line = Prediction(scan.name, status, source=scan.shown, reason=reason)
            return job
        with job.stage():
            job.content = scan.content_hash()
            if earlier is not None and self._is_current(scan, earlier, job.content):
                job.line = self._unchanged(scan, earlier)
                return job
            job.replaced = earlier
            if earlier is not None and earlier.input_hash != job.content:
                remove_results(self.out, earlier.outputs)
                job.notes.append(REPLACED)
            if is_slide(scan, self.predictor):
                return job
            job.loaded = load_scan(scan, self.model.plan, strict=self.options.strict)
            job.notes += job.loaded.notes
            job.notes += self._doubts(scan, job.loaded.volume.voxels)
        return job

    def compute(self, job: ScanJob) -> ScanJob:
        """The scan with its label map; the volume is let go."""
        if job.line is not None:
            return job
        if job.loaded is None:
            return self._compute_slide(job)
        loaded, job.loaded = job.loaded, None
        with job.stage():
            label_map = self._label_map(job, loaded.volume)
            self._look_at(job, loaded.volume, label_map)
            if job.scan.series is None and not loaded.is_repaired:
                job.like = job.scan.files[0]
            job.label_map = label_map
            if loaded.sheared_grid is not None:
                job.label_map = on_own_grid(label_map, loaded, self.model.plan)
                job.like = job.scan.files[0]
            job.peak_memory_mb = peak_memory_mb(self.predictor.device)
        return job

    def _label_map(self, job: ScanJob, volume: Volume) -> LabelMap:
        """The label map; without probabilities where these cannot be written."""
        file = self.out / f"{job.scan.name}_probabilities.b2nd"
        name, notes = job.scan.name, job.notes
        wanted = self.options.probabilities
        if wanted and self.model.plan.instance_target != "none":
            notes.append("no probabilities are written of single objects")
            wanted = False
        if wanted:
            found: list[str] = []
            try:
                label_map = self.segmentation.segment(
                    volume, name=name, notes=found, probabilities=file
                )
            except OutputError as error:
                job.attempts.note("probabilities", error, file)
            else:
                notes += [*found, f"probabilities are in {file.name}"]
                job.written.append(file.name)
                return label_map
        return self.segmentation.segment(volume, name=name, notes=notes)

    def _look_at(self, job: ScanJob, volume: Volume, label_map: LabelMap) -> None:
        """What is said and drawn of a label map, and of the cells on it."""
        attempts, name, plan = job.attempts, job.scan.name, self.model.plan
        with attempts.of("presence"):
            job.presence = self.segmentation.presence(volume, name=name)
        if self.options.page:
            with attempts.of("picture", picture_of(self.out, name)):
                draw_scan(self.out, name, volume, label_map, plan.labels)
            with attempts.of("page to look at", page_of(self.out, name)):
                write_scan_page(self.out, name, volume, label_map, plan)
        if plan.instance_target != "none":
            background = plan.labels.background
            job.num_objects = count_numbers(label_map.voxels, background=background)
            job.written += write_cells(
                self.out,
                name,
                label_map,
                volume,
                plan,
                formats=self.options.cells_as,
                attempts=attempts,
            )
        elif is_one_picture(job.scan, label_map):
            drawing = self.out / OUTLINES / f"{name}.png"
            with attempts.of("outlines", drawing):
                job.written += write_structures(self.out, name, label_map, volume, plan)
        job.plausibility = Plausibility(unchecked="could not be checked")
        with attempts.of("check of plausibility"):
            job.plausibility = self.segmentation.plausibility(
                volume, label_map, name=name
            )

    def _compute_slide(self, job: ScanJob) -> ScanJob:
        """A picture that is read, segmented and written tile by tile."""
        with job.stage():
            result = segment_slide(
                job.scan,
                self.predictor,
                self.out,
                attempts=job.attempts,
                formats=self.options.cells_as,
                progress=Silent(),
            )
            job.written += result.outputs
            job.notes += result.notes
            name = self.model.plan.labels.structures[0]
            job.num_objects = result.num_objects
            job.sizes = Sizes.of_picture({name: result.num_pixels}, result.affine)
            job.plausibility = Plausibility(unchecked="segmented in tiles: not checked")
            job.peak_memory_mb = peak_memory_mb(self.predictor.device)
        return job

    def write(self, job: ScanJob) -> Prediction:
        """What became of the scan; the label map is written last, and stands for all.

        Results of an earlier call that this one did not write again are taken away.

        Raises:
            OutputError: The disk is full or read-only: nothing more can be written.
        """
        line = self._written(job)
        if job.replaced is not None:
            remove_results(self.out, job.replaced.outputs, but=line.outputs)
        if line.failed and job.label_map is not None:
            objects = [f"{line.scan}{ending}" for ending in (SEGMENTATION, REPORT)]
            remove_results(self.out, [*job.written, *objects])
        if line.failed or (line.status == DONE and not self.options.page):
            remove_pictures(self.out, line.scan)
        return line

    def _written(self, job: ScanJob) -> Prediction:
        scan, label_map = job.scan, job.label_map
        outputs = list(job.written)
        sizes = job.sizes
        if job.line is None and label_map is not None:
            with job.stage():
                if self.options.seg or self.options.sr:
                    outputs += self._dicom_results.write(
                        scan,
                        label_map,
                        self.out,
                        notes=job.notes,
                        attempts=job.attempts,
                        doubts=job.plausibility.doubts,
                    )
                outputs.insert(0, f"{scan.name}{_suffix(scan)}")
                write_label_map(self.out / outputs[0], label_map, like=job.like)
                sizes = Sizes.of(label_map, self.model.plan.labels, scan)
        if job.line is not None:
            return job.line
        return Prediction(
            scan.name,
            DONE,
            outputs=tuple(outputs),
            source=scan.shown,
            seconds=job.seconds,
            peak_memory_mb=job.peak_memory_mb,
            volumes_ml=sizes.volumes_ml,
            areas_um2=sizes.areas_um2,
            areas_px=sizes.areas_px,
            num_objects=job.num_objects,
            presence=job.presence,
            doubts=tuple(scan.cleaned(doubt) for doubt in job.plausibility.doubts),
            unchecked=job.plausibility.unchecked,
            not_written={
                output: scan.cleaned(why)
                for output, why in job.attempts.reasons.items()
            },
            warnings=tuple(scan.cleaned(note) for note in job.notes),
            input_hash=job.content,
            model=self.model.identity,
            settings=self.settings_text,
            engine=self.segmentation.engine,
            licence=self.model.provenance.licence,
        )

    def _is_current(self, scan: Scan, earlier: Prediction, content: str) -> bool:
        wants_objects = self.options.seg or self.options.sr
        has_objects = self._dicom_results.is_complete(earlier)
        return (earlier.input_hash, earlier.model, earlier.settings) == (
            content,
            self.model.identity,
            self.settings_text,
        ) and (has_objects or not wants_objects or scan.series is None)

    def _unchanged(self, scan: Scan, earlier: Prediction) -> Prediction:
        """The line of results that stay; of what is lacking, what is wanted now."""
        wants_report = self.options.sr
        unwanted = set() if wants_report else {REPORT_OBJECT}
        if not (wants_report or self.options.seg):
            unwanted.add(SEGMENTATION_OBJECT)
        lacking = {o: w for o, w in earlier.not_written.items() if o not in unwanted}
        return replace(
            earlier,
            scan=scan.name,
            status=UNCHANGED,
            source=scan.shown,
            not_written=lacking,
        )

    def _doubts(self, scan: Scan, voxels: np.ndarray) -> list[str]:
        """What speaks against a scan of a format that does not name its modality."""
        if scan.series is not None:
            return []
        expected = [modality_of(channel) for channel in self.model.plan.channels]
        return [
            f"channel {channel.name}: no value below 0, which CT in HU has; is it CT?"
            for channel, modality, values in zip(
                self.model.plan.channels, expected, voxels, strict=False
            )
            if modality == "CT" and values.min() >= 0
        ]


def _require_probabilities(exact: ExactPredictor) -> None:
    """Refuses to write probabilities of what ends in labels, before any scan is read.

    Raises:
        SettingsError: It does.
    """
    if not exact.has_probabilities:
        raise SettingsError(
            "--probabilities: MONAI bundles and task lists end in labels, and have no "
            "probabilities to write; leave it out"
        )


def _suffix(scan: Scan) -> str:
    """The scan's own format where it can hold labels, else compressed NIfTI."""
    if scan.series is not None:
        return ".nii.gz"
    file = scan.files[0]
    suffix = file.name[len(scan_stem(file)) :].lower()
    if suffix in _LABEL_FORMATS:
        return suffix
    return ".png" if suffix in {".jpg", ".jpeg", ".bmp"} else ".nii.gz"
