"""Raw media to frames, aligned faces, wav, manifests and ledgers. Nothing here imports `fer.tf1`."""
