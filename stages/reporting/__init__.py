"""The report: its data, figures, labs, formats of numbers, and templates."""
