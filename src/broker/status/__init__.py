"""What people and machines are shown: snapshot, probes, metrics, HTTP, the page."""
