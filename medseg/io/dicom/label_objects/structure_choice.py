"""Which structures of label objects are wanted, under which names and values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from medseg.errors import SettingsError


@dataclass(frozen=True)
class StructureChoice:
    """Names and values that hold for all label objects of a tree.

    Attributes:
        names: What the wanted structures are called; the first has value 1.
        patterns: For each of them, what it is called in the objects, in small
            letters; ``*`` and ``?`` stand for any letters and any letter.
        first_wins: Whether voxels of several structures belong to the one named
            first; else they are an error.
    """

    names: tuple[str, ...]
    patterns: tuple[tuple[str, ...], ...]
    first_wins: bool

    @classmethod
    def of_names(
        cls, found: Iterable[str], *, mask: Callable[[str], str] = str
    ) -> "StructureChoice":
        """Every structure under its own name, in the order of the alphabet.

        Names that differ in nothing but case and spaces are one structure.

        Args:
            found: As the objects give them.
            mask: Takes out of a name what names a patient; names that are equal then
                are one structure, too.
        """
        called: dict[str, dict[str, None]] = {}
        shown: dict[str, str] = {}
        for name in sorted(found):
            key = _plain(mask(name))
            shown.setdefault(key, mask(name))
            called.setdefault(key, {})[_literal(_plain(name))] = None
        keys = sorted(called)
        names = tuple(shown[key] for key in keys)
        return cls(names, tuple(tuple(called[key]) for key in keys), first_wins=False)

    @property
    def values(self) -> dict[str, int]:
        """Value in label maps of each structure."""
        return {name: value for value, name in enumerate(self.names, start=1)}

    def value_of(self, name: str) -> int:
        """Value of a structure that an object names; 0 where it is not wanted."""
        plain = _plain(name)
        for value, patterns in enumerate(self.patterns, start=1):
            if any(fnmatchcase(plain, pattern) for pattern in patterns):
                return value
        return 0


def parse_structures(text: str) -> StructureChoice:
    """A choice from text such as ``"tumour=GTV*|GTV-1, left lung=Lung_L, heart"``.

    Raises:
        SettingsError: A part has another form, or a name comes twice.
    """
    names, patterns = [], []
    for part in filter(str.strip, text.split(",")):
        name, equals, called = part.partition("=")
        wanted = [_plain(word) for word in (called if equals else name).split("|")]
        if not name.strip() or not all(wanted):
            raise SettingsError(
                f"structures {part.strip()!r}: expected a name, or name=called|called, "
                "such as 'tumour=GTV*|GTV-1, heart'"
            )
        names.append(" ".join(name.split()))
        patterns.append(tuple(wanted))
    if len(set(names)) < len(names) or not names:
        raise SettingsError(f"structures {text!r}: expected names, each once")
    return StructureChoice(tuple(names), tuple(patterns), first_wins=True)


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _literal(text: str) -> str:
    """A pattern that fits this text alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
