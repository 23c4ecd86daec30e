-- The seals of the blocks that follow one.
SELECT block, marks, digest
FROM audit_seal
WHERE block > %(after)s::bigint
ORDER BY block
LIMIT %(seals_max)s::integer
