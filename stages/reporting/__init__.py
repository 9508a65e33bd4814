"""All that knows the study's names and words: labels, figures and their catalogue, results, formats, templates, README."""
