"""The most that each part of the work may ask a GPU for.

Counted on small patches, where one chunk holds all voxels of a sample. A number may be
lowered when something became better, and raised with a reason alone.
"""

LOSS_LAUNCHES = {"any": 350, "cldice": 670, "topk_ce": 20}
"""Of a loss of two samples, forward and backward, by its name."""

LOSS_WAITS = {"boundary": 2, "separation": 2, "topk_ce": 2}
"""Times that the host waits for the device in a loss: distances to a border are found
on the CPU, and the hardest voxels are picked by a mask."""

COPIES_OF_TABLES = 6
"""Blocking copies of class weights and of the members of regions, in each loss."""

AUGMENTATION_LAUNCHES = 130
"""Of a batch of three patches with two channels, everything drawn."""

STEP_LAUNCHES = {
    "data": 50,
    "augmentation": 60,
    "forward": 90,
    "loss forward": 130,
    "loss backward": 80,
    "backward": 120,
    "optimiser": 60,
    "rest of the step": 10,
}
"""Of each part of a training step: two patches, a network of three stages with two
outputs, the default loss."""

WINDOW_LAUNCHES = 300
"""Of prediction for each window, without the network's own."""

WINDOW_WAITS = 30
"""Times that the host waits for the device in prediction, for each window."""
