"""The commands of `python -m warehouse`, by what they are about."""
