"""The user's module: how it is called, whose weights it has, and calling it on flat tensors."""
