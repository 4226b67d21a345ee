"""The trained model that a run begins with, and what the run keeps of it.

A run's ``parent.yaml`` holds everything but the weights, so that a run that has taken
its first steps goes on without the model.
"""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from medseg.ancestry import Ancestor, TrainedOn, read_trained_on, trained_on
from medseg.bundle_recipe import BundleRecipe
from medseg.errors import ModelError, SettingsError
from medseg.files import write_text
from medseg.imported.nnunet import channel_plan
from medseg.model import ExactRecipe, Model
from medseg.networks.transfer import InitialWeights
from medseg.plan import ChannelPlan, Plan
from medseg.prediction.ensemble import Ensemble, load_ensemble
from medseg.preparation.inheritance import Inheritance
from medseg.progress import Progress
from medseg.settings import Settings, load_settings
from medseg.store import Store
from medseg.training.settings import InitSettings

FILE = "parent.yaml"


class ParentRecord(Settings):
    """What a run keeps of the model that it began with."""

    model: str
    """As the configuration names it."""
    plan: Plan
    """The model's plan."""
    ancestors: tuple[Ancestor, ...]
    """The model, then the one that its training began with, and so on."""
    trained_on: tuple[str, ...] = ()
    """Lines of the model's ``trained_on.txt``."""
    of_several: int = 1
    """Models in its folder that predict together, of which the first was taken."""

    def shared(self) -> "ParentRecord":
        """The record as others may see it: the model has lost its folders."""
        path = Path(self.model)
        name = path.name if path.is_absolute() else self.model
        return self.replaced(model=name)

    def to_text(self) -> str:
        """The record as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


@dataclass(frozen=True)
class Parent:
    """A trained model that a run begins with.

    Attributes:
        record: What the run keeps of it.
        init: What the configuration says about it.
        loaded: The model, once its weights were needed.
    """

    record: ParentRecord
    init: InitSettings
    loaded: Model | None = field(default=None, repr=False)

    @property
    def inheritance(self) -> Inheritance:
        """What the run's plan takes over."""
        return Inheritance(
            self.record.plan,
            self.init.model,
            self.init.channels,
            self.init.structures,
        )

    @property
    def seen(self) -> TrainedOn:
        """The scans that it was trained on."""
        return trained_on(self.record.trained_on)

    @property
    def weights_sha256(self) -> str:
        """Hash of its weights."""
        return self.record.ancestors[0].weights_sha256

    def weights(self, plan: Plan) -> InitialWeights:
        """Its weights, and what becomes of them in the network of a plan.

        Raises:
            MissingFileError: The model is gone.
            ModelError: It is another one by now.
        """
        model = self.loaded or _first(load_ensemble(Path(self.init.model)), self.init)
        if model.weights_sha256 != self.weights_sha256:
            raise ModelError(
                f"{self.init.model}: is another model than the one that the run began "
                "with; start a new run in another folder"
            )
        inherited, theirs = self.inheritance, self.record.plan
        return InitialWeights(
            name=self.init.model,
            state=model.network.state_dict(),
            channels=inherited.sources_of_channels(plan.channel_names),
            structures=inherited.sources_of_outputs(plan),
            num_channels=len(theirs.channels),
            num_structures=theirs.num_outputs,
        )


def open_parent(init: InitSettings | None, run: Path) -> Parent | None:
    """The model that a run begins with; None where it begins with random weights.

    Args:
        init: What the configuration says.
        run: The run's folder; what it kept goes before the model itself.

    Raises:
        MissingFileError: There is no such model.
        ModelError: It is damaged, or training cannot go on from it.
    """
    if init is None:
        return None
    kept = run / FILE
    if kept.is_file():
        record = load_settings(ParentRecord, kept)
        if record.model in {init.model, str(Path(init.model).absolute())}:
            return Parent(record, init)
    members = load_ensemble(Path(init.model))
    model = _first(members, init)
    origin = model.provenance
    own = Ancestor(
        name=origin.dataset or model.plan.name,
        weights_sha256=model.weights_sha256,
        licence=origin.licence,
        dataset_hash=origin.dataset_hash,
        checkpoint=origin.parent,
        created=origin.created,
    )
    seen = read_trained_on(members.folders[0])
    record = ParentRecord(
        model=init.whole_path,
        plan=_trainable_plan(model.plan, model.exact),
        ancestors=(own, *origin.ancestors),
        trained_on=tuple(seen.to_text().split()),
        of_several=len(members.models),
    )
    return Parent(record, init, model)


def write_parent(run: Path, parent: Parent) -> None:
    """Keeps in a run's folder what it began with.

    Raises:
        OutputError: The folder cannot be written.
    """
    write_text(run / FILE, parent.record.to_text())


def seen_before(
    store: Store, held_out: tuple[str, ...], seen: TrainedOn
) -> tuple[str, ...]:
    """Held-out cases of patients of whom the parent was trained on a scan.

    A scan is known again by its file: one that was converted since is not.
    """
    patients = {
        store.patients[case_id]
        for case_id in store.case_ids
        if store.image_hashes([case_id]) & seen.images
    }
    return tuple(c for c in held_out if store.patients[c] in patients)


def announce_parent(
    parent: Parent, store: Store, held_out: tuple[str, ...], progress: Progress
) -> int | None:
    """Says what is to be known about a parent; how many held-out cases it has seen.

    Returns:
        None where nothing was held out, or nobody knows.
    """
    name, record = parent.init.model, parent.record
    progress.say(f"begins with {name}: {record.ancestors[0].describe()}")
    if record.of_several > 1:
        progress.say(f"{name}: the first of {record.of_several} models is taken")
    if found := parent.inheritance.differences(store.plan):
        progress.warn(
            f"{store.folder}: prepared otherwise than {name} was trained: "
            f"{'; '.join(found)}; with the data set itself in its place, it is "
            "prepared as the model needs it"
        )
    if not held_out:
        return None
    known = seen_before(store, held_out, parent.seen)
    if known:
        progress.warn(
            f"{len(known)} of {len(held_out)} held-out cases are of patients whose "
            f"scans {name} was trained on: the scores will be too good; hold out "
            "others by a column `split` or `fold` of the data set's table"
        )
        return len(known)
    if not parent.seen.complete or not store.image_hashes(held_out):
        progress.say(
            f"which scans {name} was trained on is not known; where held-out cases are "
            "among them, the scores are too good"
        )
        return None
    return 0


def _first(members: Ensemble, init: InitSettings) -> Model:
    """The model to go on from.

    Raises:
        ModelError: It needs what no data set has.
    """
    model = members.models[0]
    if model.exact is not None and model.exact.extra_channels:
        raise ModelError(
            f"{init.model}: the second stage of a cascade, whose network also sees the "
            "label map of the first; training can begin with the first stage, or with "
            "3d_fullres"
        )
    return model


def _trainable_plan(plan: Plan, exact: ExactRecipe | None) -> Plan:
    """The plan of an imported model with its intensities as medseg can make them."""
    if exact is None:
        return plan
    if isinstance(exact, BundleRecipe):
        return _plan_of_bundle(plan, exact)
    channels = [  # model folders of before had no word for some of them
        channel_plan(channel.name, theirs)
        for channel, theirs in zip(plan.channels, exact.channels, strict=True)
    ]
    return plan.replaced(channels=tuple(channels))


def _plan_of_bundle(plan: Plan, recipe: BundleRecipe) -> Plan:
    """Percentiles where the bundle scales intensities as no plan can say."""
    if not any("Intensity" in step.name for step in recipe.before):
        return plan
    channels = [
        ChannelPlan(name=channel.name, normalization="percentile")
        if channel.normalization == "none"
        else channel
        for channel in plan.channels
    ]
    return plan.replaced(channels=tuple(channels))


def refuse_preset(init: InitSettings | None, preset: str | None) -> None:
    """A preset chooses a network, and so does the model.

    Raises:
        SettingsError: Both are given.
    """
    if init is not None and preset is not None:
        raise SettingsError(
            f"plan.preset {preset} and training.init: both choose the network; leave "
            "one of them out"
        )
