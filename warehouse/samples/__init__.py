"""How drafts become samples: the filters, the overlap with benchmarks, the training set and its card."""
