"""What ``tools/soak.py`` needs: commands that are disturbed, a server, and what must not differ."""
