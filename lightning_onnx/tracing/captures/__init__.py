"""Ways to capture a module for the torch.export based engine: one class a file, one protocol."""
