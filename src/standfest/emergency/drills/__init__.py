"""Drills: traffic, faults, the recorded history and a checker that knows nothing of the rest."""
