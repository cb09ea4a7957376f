"""Parquet rows in and out: items, questions, samples."""
