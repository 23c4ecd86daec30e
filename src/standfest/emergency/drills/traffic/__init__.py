"""Traffic for drills: orders made up with the traits of real ones, sent on a schedule that never waits."""
