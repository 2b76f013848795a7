-- One database role per service. They cannot log in until `manage.py service_roles` gives each a password.
DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['web', 'signer', 'worker', 'treasury'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE clearinghouse_%s NOLOGIN', service);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles belong to the whole server; another database made it
        END;
    END LOOP;
END $$;
