"""Measurements of stages at a million rows."""
