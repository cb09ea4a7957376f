"""What a run refuses: a mistake of the user, found before work is done. It ends a run with one line, not a traceback.

Imports nothing of the engine, because stages, runs and flows all refuse.
"""

import contextlib
from collections.abc import Iterator


class ParameterRefused(ValueError):
    """A parameter that a run refuses, or something that must be there before it: not a fault of the program.

    The message says what was found, what was expected and what to do.
    """


@contextlib.contextmanager
def refuse_faults(about: str = "") -> Iterator[None]:
    """Raise a ValueError of the block, or of the function that this decorates, as ParameterRefused.

    `about` names the option. Only for code that checks what a user said: elsewhere a ValueError may be our own fault.
    """
    try:
        yield
    except ParameterRefused:
        raise
    except ValueError as error:
        raise ParameterRefused(f"{about}: {error}" if about else str(error)) from error
