"""Run by engine.migrate on its own connection, inside one transaction: a failing step leaves nothing behind."""

from alembic import context
from sqlmodel import SQLModel

import monitor.store.tables  # noqa: F401  # declares them

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
