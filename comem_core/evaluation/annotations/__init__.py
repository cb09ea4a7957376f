"""Annotation files of benchmarks and training sets as released: their rows, their pictures, and hashes of both."""
