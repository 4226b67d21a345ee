"""A MONAI bundle as a model of medseg: network, plan, recipe.

MONAI evaluates a bundle's expressions and imports its scripts when it runs one. Here
its configuration is data: what is in the list of `medseg.bundle_recipe` is taken over,
anything else that would matter is refused by name, and nothing is executed.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from medseg import __version__
from medseg.bundle_recipe import BundleRecipe
from medseg.errors import ModelError
from medseg.files import hash_bytes, hash_file
from medseg.imported.bundle_config import read_config
from medseg.imported.bundle_folder import BundleFolder, opened
from medseg.imported.bundle_labels import (
    answer_of,
    channel_plans,
    label_scheme,
    outputs_of,
)
from medseg.imported.bundle_network import network_of, read_weights, require_fit
from medseg.imported.bundle_parts import parts_of, stated_weights
from medseg.imported.bundle_steps import read_after, read_before, read_inferer
from medseg.imported.imported_model import ImportedModel, read_json, require_finite
from medseg.model import Model, Provenance
from medseg.networks.build import build_network
from medseg.networks.plugin_network import settled
from medseg.networks.settings import PluginNetworkSettings
from medseg.plan import Plan
from medseg.settings import parse_settings

_BODY = "core.body."
_WHOLE_IMAGE = (96, 96, 96)


def read_bundle(path: Path, *, overrides: Sequence[str] = ()) -> ImportedModel:
    """The model of a MONAI bundle.

    Args:
        path: Its folder, or a zip of it.
        overrides: Texts ``place=value`` for values of inference.json.

    Raises:
        MissingFileError: There is no bundle, or it lacks its weights.
        ModelError: Something in it is not known, or is refused; it is named.
        SettingsError: A number is out of range.
    """
    with opened(path) as folder:
        return _Reading(folder, overrides).result()


class _Reading:
    """One bundle on its way to a model."""

    def __init__(self, folder: BundleFolder, overrides: Sequence[str]) -> None:
        file = folder.config
        self.folder = folder
        self.notes: list[str] = []
        self.config = read_config(
            file,
            overrides=["bundle_root=.", *overrides],
            name=f"{folder.shown}: {file.name}",
        )
        self.metadata: dict[str, Any] = {}
        if folder.metadata.is_file():
            self.metadata = read_json(folder.metadata)
        else:
            self.notes.append("no metadata.json: structures are called by number")

    def result(self) -> ImportedModel:
        """The model."""
        parts = parts_of(self.config)
        settings, numbers = network_of(self.config, parts["network"], "network")
        recipe = self._recipe(parts, numbers["out_channels"])
        patch = _patch_size(recipe, numbers["spatial_dims"])
        settings = settled(settings, **numbers, patch_size=patch)
        plan = self._plan(recipe, settings, numbers, patch)
        state, file = self._weights(parts)
        network = build_network(
            settings,
            spatial_dims=plan.spatial_dims,
            in_channels=len(plan.channels),
            out_channels=plan.num_outputs,
        )
        wanted = {
            key.removeprefix(_BODY): tensor
            for key, tensor in network.state_dict().items()
        }
        shown = f"{self.folder.shown}: {file.name}"
        require_fit(state, wanted, shown=shown, name=settings.name)
        require_finite(state, Path(shown))
        own = {  # copies, since MONAI's networks may hold a layer under two names
            f"{_BODY}{key}": tensor.contiguous().clone()
            for key, tensor in state.items()
        }
        network.load_state_dict(own)
        model = Model(
            network.eval(),
            plan,
            Provenance(
                medseg=__version__,
                dataset=str(self.metadata.get("data_source", ""))[:200],
                parent=hash_file(file),
                licence=_licence(self.folder.path, self.metadata),
            ),
            hash_bytes(save(own)),
            exact=recipe,
        )
        return ImportedModel((model,), ("0",), notes=tuple(self.notes))

    def _recipe(self, parts: Mapping[str, Any], channels: int) -> BundleRecipe:
        before = read_before(self.config, parts["preprocessing"], "preprocessing")
        after, saving = read_after(
            *(self.config, parts["postprocessing"], "postprocessing"),
            inverse_of=parts["preprocessing"],
        )
        answer, notes = answer_of(after, channels, before=before.steps, saving=saving)
        self.notes += notes
        return BundleRecipe(
            inputs=before.inputs,
            before=before.steps,
            inferer=read_inferer(self.config, parts["inferer"], "inferer"),
            after=after,
            saving=saving,
            answer=answer,
            version=str(self.metadata.get("version", ""))[:40],
            monai=str(self.metadata.get("monai_version", ""))[:40],
        )

    def _plan(
        self,
        recipe: BundleRecipe,
        settings: PluginNetworkSettings,
        numbers: Mapping[str, int],
        patch: tuple[int, ...],
    ) -> Plan:
        outputs, notes = outputs_of(self.metadata, numbers["out_channels"])
        self.notes += notes
        name = str(self.metadata.get("name") or self.folder.path.name)[:80]
        spacing = _spacing(recipe)
        values = {
            "name": re.sub(r"\s+", " ", name) or "bundle",
            "spatial_dims": numbers["spatial_dims"],
            "reorient": any(step.name == "Orientationd" for step in recipe.before),
            "target_spacing": spacing,
            "crop_nonzero": any(s.name == "CropForegroundd" for s in recipe.before),
            "channels": channel_plans(self.metadata, recipe, numbers["in_channels"]),
            "labels": label_scheme(recipe, outputs),
            "patch_size": patch,
            "batch_size": 2,
            "network": settings,
        }
        return parse_settings(Plan, values, source=f"{self.folder.shown}")

    def _weights(self, parts: Mapping[str, Any]) -> tuple[dict[str, Tensor], Path]:
        stated, key = stated_weights(self.config, parts)
        file = self.folder.weights(stated)
        shown = f"{self.folder.shown}: {file.relative_to(self.folder.path)}"
        return read_weights(file, shown=shown, key=key), file


def _patch_size(recipe: BundleRecipe, dims: int) -> tuple[int, ...]:
    """Voxels of a window; a usual size where scans are taken as a whole.

    Raises:
        ModelError: The window has other axes than the network.
    """
    sizes = recipe.inferer.roi_size
    if not sizes:
        return _WHOLE_IMAGE[:dims]
    if len(sizes) != dims:
        raise ModelError(
            f"inferer: roi_size {list(sizes)} of a network with {dims} axes"
        )
    return tuple(
        size if size > 0 else usual
        for size, usual in zip(sizes, _WHOLE_IMAGE, strict=False)
    )


def _spacing(recipe: BundleRecipe) -> list[float]:
    """The voxel size that scans are resampled to; 1 where a scan's own is kept."""
    for step in recipe.before:
        sides = step.args.get("pixdim")
        if step.name == "Spacingd":
            sides = sides if isinstance(sides, list) else [sides] * 3
            numbers = [float(s) if isinstance(s, int | float) else 1.0 for s in sides]
            numbers = [*numbers, 1.0, 1.0][:3]
            return [side if side > 0 else 1.0 for side in numbers]
    return [1.0, 1.0, 1.0]


def _licence(folder: Path, metadata: Mapping[str, Any]) -> str:
    """What the bundle says about its licence: in metadata.json, or a file's title."""
    for key in ("license", "licence", "copyright"):
        if isinstance(metadata.get(key), str) and metadata[key].strip():
            return " ".join(metadata[key].split())[:200]
    for file in sorted([*folder.glob("LICENSE*"), *folder.glob("docs/*icense*")]):
        if file.is_file() and not file.is_symlink():
            with file.open(encoding="utf-8", errors="replace") as text:
                lines = (" ".join(line.split()) for line in text.read(4096).split("\n"))
                return next((line[:200] for line in lines if line), "")
    return ""
