"""Decisions that a method takes by the values of its tensors: recording them, and inputs that change them."""
