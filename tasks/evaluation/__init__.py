"""The stages that ask, judge, score and compare."""
