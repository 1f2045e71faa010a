"""What runs of `configs/` need of each other, what is done of them, and running them here or on a cluster."""
