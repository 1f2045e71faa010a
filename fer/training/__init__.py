# SPDX-License-Identifier: Apache-2.0
"""Training and evaluating a run: configuration, graph, schedules, the session loop, checkpoints, the run folder."""
