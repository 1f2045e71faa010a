"""What training leaves in a run folder and reports read: names of files, settings, logs, status, lock, checkpoints."""
