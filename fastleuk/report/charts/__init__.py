"""Charts as SVG whose colours are the page's: they follow its light and dark theme."""
