"""Results on their way from a GPU to the host, which is not waited for meanwhile."""

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

MOST_WAITING = 2
"""Copies that may be under way; older ones are used first."""

Use = Callable[[np.ndarray], None]


class HostCopies:
    """Copies tensors to the host and uses each when later ones are under way.

    A GPU goes on with the next windows while the host still writes what the last ones
    came to. What is on the host already is used at once.
    """

    def __init__(self) -> None:
        self._under_way: deque[tuple[torch.cuda.Event, Tensor, Use]] = deque()

    def use(self, values: Tensor, use: Use) -> None:
        """Hands the values to a function, now or by the time of `finish`.

        Args:
            values: On any device; a GPU's are copied into pinned memory.
            use: Called with them; calls come in order.
        """
        if values.device.type != "cuda":
            use(values.cpu().numpy())
            return
        copied = values.to("cpu", non_blocking=True)  # pinned, since it may come later
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(values.device))
        self._under_way.append((event, copied, use))
        while len(self._under_way) > MOST_WAITING:
            self._use_first()

    def finish(self) -> None:
        """Waits for the copies that are under way."""
        while self._under_way:
            self._use_first()

    def _use_first(self) -> None:
        event, copied, use = self._under_way.popleft()
        event.synchronize()
        use(copied.numpy())
