"""Commands that measure something and write it to `docs/results/<topic>.json`; the pages quote only those files."""
