"""Pictures of runs, and the dissertation's tables beside ours."""
