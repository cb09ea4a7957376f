"""Which language a text is in. Knows nothing of items."""

import py3langid

NUM_CHARACTERS = 300  # more text makes it slower and hardly surer


def identify_language(text: str) -> str:
    """Name the language of a text by its two-letter code (ISO 639-1); a few words can be mistaken for a neighbour."""
    return py3langid.classify(text[:NUM_CHARACTERS])[0]
