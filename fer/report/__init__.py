"""Pictures of runs: curves and confusion matrices."""
