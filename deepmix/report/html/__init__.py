"""HTML, SVG and pictures; nothing here knows about clustering."""
