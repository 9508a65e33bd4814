"""Every figure of the report: `draw`s it, gives the `facts` for its words, and the `table` that it shows.

style has what they share; accuracies, costs, weights, images and gradient one subject each. A dot is a replica; a
hollow diamond is what was printed.
"""
