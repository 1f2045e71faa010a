"""The whole way on drawn corpora, each step a command that anyone can type."""
