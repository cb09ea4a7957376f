"""Measures training steps: samples a second and memory, beside the authors' way and under each setting."""
