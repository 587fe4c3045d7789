"""All SQL: the journal, the lanes that write it, and their two engines."""
