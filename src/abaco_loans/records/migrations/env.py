"""What Alembic runs: it migrates on the connection, and inside the transaction, of ``records.migrate``."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite can roll DDL back; Alembic assumes the driver's old habit of committing before it.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
