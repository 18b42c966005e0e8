"""From a configuration to an artifact that can be served."""
