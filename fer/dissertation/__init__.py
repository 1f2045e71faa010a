"""The runs of the dissertation's chapter 6 as data: their settings, what each restores, and the scores it printed."""
