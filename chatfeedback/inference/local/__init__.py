"""The local model: a GGUF file served by a process of its own."""
