"""A plugin of pytest: hides Triton, as where PyTorch came without it."""

import sys

sys.modules["triton"] = None  # type: ignore[assignment]
