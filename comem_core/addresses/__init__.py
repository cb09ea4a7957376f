"""Stores that are addresses: object stores and other filesystems of fsspec, and the local folders that are copies."""
