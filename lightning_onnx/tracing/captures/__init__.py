"""Ways to capture a module for the torch.export based engine: one protocol, one class per file."""
