"""The stages that make training data, from a corpus to samples and their card."""
