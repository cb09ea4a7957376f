"""The bank of a run: which memories earlier banks have, the encoding of the others, and the folder of them all."""
