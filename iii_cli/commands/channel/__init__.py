"""The commands of channels."""
