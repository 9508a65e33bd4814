"""All that knows the study's names and words: labels, figures, results, formats, templates."""
