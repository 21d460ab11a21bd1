"""torch's inner values by their names in the graph, to find where a wrong file departs from the module."""
