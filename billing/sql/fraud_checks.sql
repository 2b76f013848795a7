-- What was looked at: the worker's own notes.
GRANT SELECT, INSERT ON billing_fraudcheck TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE billing_fraudcheck_id_seq TO clearinghouse_worker;
GRANT SELECT ON billing_fraudcheck TO clearinghouse_web;
