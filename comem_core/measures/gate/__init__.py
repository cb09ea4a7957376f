"""Measures of the gate that decides, question by question, whether memory is trusted."""
