"""Initial clusterings and clustering heads."""
