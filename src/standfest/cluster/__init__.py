"""The cluster: which nodes there are, what runs on them, and how it is started, held, observed and stopped."""
