"""A study engine for emotion recognition with few, noisy or missing labels."""

__version__ = "0.1.0"
