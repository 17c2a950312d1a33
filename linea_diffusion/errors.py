"""The one error that a user can cause and mend."""

from __future__ import annotations


class LineaError(ValueError):
    """Bad input: one line that says what was got, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2.
    """
