"""The generation record, batches, quotas and the change bus; no I/O."""
