"""The exported weights: the private copy of the module, and the weights loaded into it."""
