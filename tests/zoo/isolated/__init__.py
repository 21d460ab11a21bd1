"""Runs the cases of libraries, each library in an environment made for it; see ``make libraries``."""
