//! What to write, sync, keep, recover and purge, as disk operations. Executes nothing.
