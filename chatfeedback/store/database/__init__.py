"""The database: engine, transactions, migrations, backup, availability, error translation, locks."""
