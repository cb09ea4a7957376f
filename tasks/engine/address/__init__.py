"""A store at an address, such as a bucket: what a run and its workers do there instead of sharing a folder."""
