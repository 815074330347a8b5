"""The other side of each measurement. Runs in `.venv-bench`, and imports nothing of saccade."""
