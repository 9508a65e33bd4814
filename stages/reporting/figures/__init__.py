"""Every figure of the report: a function that takes the results and a layout, and returns a matplotlib Figure.

style has what they share; accuracies, costs, weights and images one subject each. A dot is a replica; a hollow diamond,
on a line of its own, is what the study printed.
"""
