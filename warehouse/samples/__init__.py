"""Which drafts become samples: the filters, what is kept apart from benchmarks, the training set and its card."""
