"""What a long loop tells its user; the terminal's version lives in `console`."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Follows a loop and passes on messages."""

    def track(
        self, items: Iterable[T], *, label: str, total: int | None = None
    ) -> Iterator[T]:
        """The items, one by one, while progress is shown under a label."""
        ...

    def say(self, message: str) -> None:
        """Shows one line."""
        ...

    def warn(self, message: str) -> None:
        """Shows one line that the user should act on."""
        ...


class Silent:
    """Progress that shows nothing."""

    def track(
        self, items: Iterable[T], *, label: str, total: int | None = None
    ) -> Iterator[T]:
        """The items, unchanged."""
        del label, total
        yield from items

    def say(self, message: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Nothing."""
