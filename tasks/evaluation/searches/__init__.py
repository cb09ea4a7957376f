"""Ways to search, compared on a corpus: the questions whose right item is known, and which way finds it."""
