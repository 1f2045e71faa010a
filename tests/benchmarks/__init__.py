"""What takes how long: each module is a command that measures and prints; none is a test."""
