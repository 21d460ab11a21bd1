"""How the module's method is called, from the observed calls to the requested graph."""
