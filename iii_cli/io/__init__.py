"""What a shell sees: descriptors as byte streams, output files, child commands, progress."""
