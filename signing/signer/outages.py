"""What may be said of a database's error: what the server is like, never what it was asked."""

import psycopg

# Of connections, rights, names, resources, locks and operators; others may quote values.
_TELLING = ("08", "25006", "28", "3D", "42", "53", "55", "57", "58")
_MOST_LETTERS = 300


def reason(error: BaseException) -> str:
    """One line for the log, such as `OperationalError 57P03: the database system is starting up`."""
    name, code, text = type(error).__name__, "", ""
    if isinstance(error, psycopg.Error):
        code = error.sqlstate or ""
        if code.startswith(_TELLING):
            text = error.diag.message_primary or ""
        elif not code and isinstance(error, psycopg.OperationalError):
            # Nothing was asked, or no answer came: these are the client library's own words, its hints indented.
            text = " ".join(line for line in str(error).splitlines() if not line.startswith("\t"))
    text = " ".join(text.split())[:_MOST_LETTERS]
    return " ".join(part for part in (name, code) if part) + (f": {text}" if text else "")
