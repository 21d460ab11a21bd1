"""Whose weights are exported: the private copy, and what is loaded into it."""
