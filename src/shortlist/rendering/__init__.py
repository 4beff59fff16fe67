"""Rendering shared by the leaderboard and the datasheet: HTML pages, text tables, SVG plots."""
