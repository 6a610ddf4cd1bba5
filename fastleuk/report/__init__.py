"""A run as one page that can be sent to a clinician or a reviewer.

``source`` reads what the run keeps, ``sections`` decides what is told of it, ``charts`` draws,
``templates`` lay it out. No figure is computed here: they are ``test_metrics.json``'s, or what
:mod:`fastleuk.evaluation` makes of the run's predictions. What isn't there is said to be missing.
"""
