"""The user's module: how it is called, where its weights come from, and how to call it on flat tensors."""
