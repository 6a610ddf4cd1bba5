"""Runs behind a web page and a JSON endpoint; nothing that is uploaded is written anywhere.

``limits`` and ``uploads`` stand at the door, ``batcher`` shows images of several requests to the
networks together, ``service`` is what an app answers with, ``app`` the routes, ``run`` the server.
"""
