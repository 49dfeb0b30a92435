"""Model files, and from a picture's file to its class.

Imports models/ and what lies below it."""
