"""`make gpu-check`: what a GPU makes of the 7B recipe, measured on a model of the real shape with random weights."""
