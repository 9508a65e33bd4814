"""The page's labs: what each needs to know, as a record for JSON."""
