-- Who may touch what discovery keeps. The signer says who our senders are and lists; the worker asks and writes.
GRANT SELECT ON signing_orchestrator, signing_orchestratorsource TO clearinghouse_web;
GRANT INSERT ON signing_senderintroduction TO clearinghouse_signer;
GRANT SELECT ON signing_orchestrator TO clearinghouse_signer;
GRANT SELECT ON signing_senderintroduction TO clearinghouse_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON signing_orchestrator, signing_orchestratorsource TO clearinghouse_worker;
