"""The most that each part of the work may ask a GPU for.

Counted on small patches, where one chunk holds all voxels of a sample. A number may be
lowered when something became better, and raised with a reason alone.
"""

LOSS_LAUNCHES = {
    "any": 8,
    "boundary": 70,
    "cldice": 455,
    "separation": 35,
    "topk_ce": 38,
}
"""Of a loss of two samples, forward and backward, by its name."""

LOSS_LAUNCHES_WITHOUT_TRITON = {
    "any": 180,
    "boundary": 190,
    "cldice": 580,
    "topk_ce": 38,
}
"""The same by PyTorch's operations alone."""

OUTPUTS_LAUNCHES = 8
"""Of the default loss of nine samples at any number of resolutions, forward and
backward."""

LOSS_WAITS = {"separation": 2}
"""Times that the host waits for the device in a loss: the CPU tells cells apart."""

COPIES_OF_TABLES = 0
"""Blocking copies of class weights and of the members of regions, in each loss."""

AUGMENTATION_LAUNCHES = 130
"""Of a batch of three patches with two channels, everything drawn."""

STEP_LAUNCHES = {
    "data": 50,
    "augmentation": 60,
    "forward": 90,
    "loss forward": 6,
    "loss backward": 4,
    "backward": 120,
    "optimiser": 60,
    "rest of the step": 10,
}
"""Of each part of a training step: two patches, a network of three stages with two
outputs, the default loss."""

WINDOW_LAUNCHES = 4
"""Of prediction for each window, without the network's own: its sums, in two pieces
where they meet the end of the ring, and a share of making a batch."""

ROWS_LAUNCHES = 110
"""Of prediction for each set of finished rows, which become labels on another grid."""

SCAN_WAITS = 1
"""Times that the host waits for the device in prediction: the scan is sent there."""

ROWS_WAITS = 2
"""The same for each set of finished rows: it is asked how many voxels lie between
different labels, and their labels are waited for when the next rows are under way."""
