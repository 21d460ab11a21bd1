"""Decisions of a method that depend on tensor values: recording them, and finding inputs that change them."""
