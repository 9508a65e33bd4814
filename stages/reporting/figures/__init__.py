"""Every figure of the report: each can draw itself, has the facts for its words, and the table that it shows.

`style` has what figures share, `drawing` their base class; all other modules have one subject each. A dot is a replica;
a hollow diamond is what was printed.
"""
