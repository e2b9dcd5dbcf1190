"""The database: engine, migrations, errors, backup, locks."""
