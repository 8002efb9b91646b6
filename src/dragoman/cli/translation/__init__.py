"""`dragoman translate` and `dragoman live`."""
