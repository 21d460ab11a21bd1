"""From torch to a graph."""
