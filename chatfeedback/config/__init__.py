"""Configuration: settings from flags, the environment and a file."""
