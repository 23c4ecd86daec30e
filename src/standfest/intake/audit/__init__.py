"""The audit: what was acknowledged against what is stored, all the time (docs: protocol, "Receipts and the audit")."""
