"""How the module's method is called, from what was observed to what is asked of the graph."""
