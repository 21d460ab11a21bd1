"""The stages of an export: prepare once, then produce an artifact for every set of weights."""
