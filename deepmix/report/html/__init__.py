"""HTML, SVG and pictures: nothing here knows of clustering."""
