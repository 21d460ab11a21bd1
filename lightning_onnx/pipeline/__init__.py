"""The order of the stages: prepare once, produce for every set of weights."""
