"""What is counted and logged; every room above may write to it."""
