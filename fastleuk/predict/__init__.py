"""Apply runs to images of which nothing is known: from the command line, Python, and the server.

``ensemble`` loads runs and scores batches, ``inputs`` finds the images, ``stream`` brings both
together, ``table`` and ``isbi`` write, ``predictor`` is what ``fastleuk.load`` returns.
"""
