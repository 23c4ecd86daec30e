-- Which history of the data this is. A restore into another cluster shows as well, whoever made it.
SELECT concat_ws(' ', value, system_identifier)
FROM generation
CROSS JOIN pg_control_system()
