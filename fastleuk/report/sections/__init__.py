"""What the page tells, part by part, as plain values for the templates.

A part that can't be made says why in its key ``none``; it is never left out.
"""
