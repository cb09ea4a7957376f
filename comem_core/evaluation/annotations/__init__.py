"""Annotation files as benchmarks and training sets are released: their rows, their pictures, and what names both."""
