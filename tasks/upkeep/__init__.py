"""Keeps a store in order."""
