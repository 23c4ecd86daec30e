"""What several test suites share; nothing of it is part of the product."""
