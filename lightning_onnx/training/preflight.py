"""When to try an export before the first epoch, and again while the module is one that training has yet to finish."""

from __future__ import annotations


class Preflight:
    """The state of preflight in one fit, the same on every rank.

    Args:
        is_on: Whether there is a preflight at all.

    Example:
        >>> preflight = Preflight(is_on=True)
        >>> preflight.tried(waits=True)
        >>> preflight.validated()
        >>> preflight.is_due, preflight.is_due_again
        (False, True)
    """

    def __init__(self, is_on: bool) -> None:
        self._is_first = is_on
        self._waits = False
        self._may_have_changed = False

    @property
    def is_due(self) -> bool:
        """Whether the first try is due, as soon as there is a call."""
        return self._is_first

    @property
    def waits(self) -> bool:
        """Whether the module did not run at the last try."""
        return self._waits

    @property
    def is_due_again(self) -> bool:
        """Whether another try is due: the module did not run at the last one, and something may have changed it."""
        return self._waits and self._may_have_changed

    def tried(self, *, waits: bool) -> None:
        """Note a try.

        Args:
            waits: Whether the module did not run.
        """
        self._is_first = self._may_have_changed = False
        self._waits = waits

    def validated(self) -> None:
        """Note the end of a validation or of an epoch, where modules compute what they are missing."""
        self._may_have_changed = True
