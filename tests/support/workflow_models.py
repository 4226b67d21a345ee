"""Model folders with weights as they were drawn."""

from pathlib import Path

import torch

from medseg.model import Provenance, save_model
from medseg.networks.build import build_network
from medseg.plan import Plan


def make_model(
    folder: Path, plan: Plan, *, bias: float = 0.0, flips: bool = False
) -> Path:
    """A model folder with weights as they were drawn, the last bias shifted."""
    torch.manual_seed(0)
    network = build_network(
        plan.network,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=plan.num_outputs,
    )
    if bias:
        named = [(n, p) for n, p in network.named_parameters() if p.ndim == 1]
        last = [p for _, p in named if p.shape[0] == plan.num_outputs][-1]
        with torch.no_grad():
            last[1] += bias
    save_model(folder, network, plan, Provenance(dataset="tiny"), flips=flips)
    return folder
