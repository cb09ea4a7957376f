"""Measures of stages at sizes that no laptop corpus has."""
