"""What is on an engine: its functions, its workers, its traces."""
