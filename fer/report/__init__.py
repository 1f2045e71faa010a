"""The report: the dissertation's tables with our numbers beside them, curves and confusion matrices."""
