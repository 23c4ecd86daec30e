-- Locks a client, so that its keys are counted and added by one command at a time.
SELECT id
FROM client
WHERE name = %(name)s
FOR NO KEY UPDATE
