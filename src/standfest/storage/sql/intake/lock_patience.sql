-- How long this transaction waits for a row that somebody holds locked.
SELECT set_config('lock_timeout', (%(lock_wait)s::text [])[1], true)
