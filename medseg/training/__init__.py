"""The training loop: budgeted, resumable, tracked through a narrow Protocol."""
