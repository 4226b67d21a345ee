"""Memory in use at once while tensors come and go."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations create, until each is freed.

    What a library needs inside of an operation, such as oneDNN's and cuDNN's copies in
    their own layouts, is not among them.

    Attributes:
        current: Bytes in use now.
        peak: Largest number of bytes in use at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.current = 0
        self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs the operation and notes the storages of what it returns."""
        kwargs = kwargs or {}
        before = {id(s) for s in map(_storage, tree_leaves((args, kwargs))) if s}
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            storage = _storage(leaf)
            if storage is not None and id(storage) not in before:
                self._note(storage)
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._known:
            return
        size = storage.nbytes()
        self.current += size
        self.peak = max(self.peak, self.current)
        self._known[key] = weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.current -= size
        self._known.pop(key, None)


def _storage(value: object) -> torch.UntypedStorage | None:
    return value.untyped_storage() if isinstance(value, Tensor) else None
