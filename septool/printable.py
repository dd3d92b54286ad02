"""Text of messages: untrusted characters, whose escape sequences are neutralized, and numbers with their nouns."""

import os
import unicodedata
from collections.abc import Sequence

TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # direction of writing


def printable(text: object) -> str:
    r"""Return a name or a message of others with everything escaped that a terminal would act on.

    Control characters, line breaks, marks that change the direction of writing and bytes that are no UTF-8 come out as
    ``\x1b``, ``\n``, ``\u202e`` and ``\xff``; everything else stays as it is.
    """
    shown = os.fsdecode(text) if isinstance(text, bytes) else str(text)
    return "".join(_shown(character) for character in shown)


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "channel"), count(0, "channel")
    ('1 channel', '0 channels')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """Return the first of several names, and how many more there are.

    >>> first_few(["a", "b"]), first_few(["a", "b", "c", "d"])
    ('a, b', 'a, b, c and 1 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def is_in_words(character: str) -> bool:
    """Return whether a character is a letter, a digit or a mark that letters bear, such as a vowel sign."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TURNING:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character
