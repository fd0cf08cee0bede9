"""Read lines, and write files and folders without losing what was there."""
