"""Forms of an artifact for programs that serve or share models: Triton's model repository, the Hugging Face Hub."""
