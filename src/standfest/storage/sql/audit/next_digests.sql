-- The digests of the seals that follow one, without what they were made of.
SELECT block, digest
FROM audit_seal
WHERE block > %(after)s::bigint
ORDER BY block
LIMIT %(seals_max)s::integer
