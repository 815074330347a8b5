"""Our side of each measurement. Runs in the project's own environment."""
