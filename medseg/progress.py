"""How long loops report progress; the terminal's version lives in `console`."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

T = TypeVar("T")


class Meter(Protocol):
    """Shows how much of one long piece of work is done."""

    def update(self, done: float, note: str = "") -> None:
        """Moves to a share in [0, 1], with a short remark beside it."""
        ...


class Progress(Protocol):
    """Follows a loop and passes on messages."""

    def track(
        self, items: Iterable[T], *, label: str, total: int | None = None
    ) -> Iterator[T]:
        """The items, one by one, while progress is shown under a label."""
        ...

    def meter(self, *, label: str) -> AbstractContextManager[Meter]:
        """A meter that is shown inside the `with` block."""
        ...

    def say(self, message: str) -> None:
        """Shows one line."""
        ...

    def warn(self, message: str) -> None:
        """Shows one line that the user should act on."""
        ...


class SilentMeter:
    """A meter that shows nothing."""

    def update(self, done: float, note: str = "") -> None:
        """Does nothing."""


class Silent:
    """Progress that shows nothing."""

    def track(
        self, items: Iterable[T], *, label: str, total: int | None = None
    ) -> Iterator[T]:
        """The items, unchanged."""
        del label, total
        yield from items

    def meter(self, *, label: str) -> AbstractContextManager[Meter]:
        """A meter that shows nothing."""
        del label
        return nullcontext(SilentMeter())

    def say(self, message: str) -> None:
        """Does nothing."""

    def warn(self, message: str) -> None:
        """Does nothing."""
