"""Operators that torch's exporter lacks or gets wrong: one table, one topic per file."""
