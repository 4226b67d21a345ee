"""Prediction of whole scans on a fake GPU."""

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from fake_gpu import FakeGPU
from rehearsed_fit import NETWORK

from medseg.inference.engines.torch_engine import torch_engine
from medseg.inference.label_writer import LabelWriter
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.networks.build import build_network
from medseg.plan import Plan
from medseg.volume import Volume

CUDA = torch.device("cuda")
NETWORK_ITSELF = "network"
AROUND = "around the network"


@dataclass
class Prediction:
    """What a rehearsed prediction came to.

    Attributes:
        windows: That the network was asked for.
        calls: Of the network.
        rows: How often finished rows were handed on.
        notes: What was done otherwise than asked.
    """

    windows: int = 0
    calls: int = 0
    rows: int = 0
    notes: tuple[str, ...] = ()


def scan(*, spacing: float, shape: tuple[int, ...] = (40, 34, 32)) -> Volume:
    voxels = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return Volume(voxels, np.diag([spacing, spacing, spacing, 1.0]))


def predict(
    gpu: FakeGPU,
    plan: Plan,
    volume: Volume,
    *,
    device: torch.device = CUDA,
    precision: str = "bfloat16",
    **settings: object,
) -> Prediction:
    """Predicts a scan; the network is counted apart from what is around it."""
    done, notes = Prediction(), list[str]()
    with gpu:
        network = build_network(
            NETWORK,
            spatial_dims=plan.spatial_dims,
            in_channels=1,
            out_channels=plan.num_outputs,
        )
        network = network.eval().to(device)
        engine = torch_engine(network, device=device, precision=precision)

        def counted(batch: torch.Tensor) -> torch.Tensor:
            done.windows += len(batch)
            done.calls += 1
            with gpu.seen.during(NETWORK_ITSELF):
                return engine(batch)

        predictor = Predictor(
            network, plan, device, InferenceSettings(**settings), forward=counted
        )
        put = LabelWriter.put

        def counted_rows(*args: Any) -> None:
            done.rows += 1
            put(*args)

        with (
            gpu.seen.during(AROUND),
            mock.patch.object(LabelWriter, "put", counted_rows),
        ):
            label_map = predictor.predict(volume, notes=notes)
    assert label_map.voxels.shape == volume.voxels.shape[1:]
    done.notes = tuple(notes)
    return done
