"""TensorBoard: scalars, the graph, and files beside the event files."""
