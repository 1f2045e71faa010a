#!/bin/bash
# The runs of the tables of section 6.5l, and all that they need.
exec "$(dirname "${BASH_SOURCE[0]}")/submit.sh" --table=6.5l "$@"
