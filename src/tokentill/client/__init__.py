"""What a developer imports: the same interface in-process and over HTTP."""
